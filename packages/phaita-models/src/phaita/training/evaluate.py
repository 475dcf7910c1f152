"""How well the discriminator diagnoses complaints that it has not seen, beside simpler methods and its own ablation."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from phaita.data.symptoms import find_symptoms, finder
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.training._record import FLUENT
from phaita.training._texts import Encodings, Find, Texts, answers, labels_of
from phaita.training.baselines import Method, baselines
from phaita.training.complaints import Complaint, Complaints, draw_complaints, listed_complaints
from phaita.training.metrics import Measure, figures, intervals, mean_of, minus
from phaita.training.train import train_discriminator
from phaita.utils.config import DataConfig, TrainingConfig

__all__ = ["HELD_OUT", "LISTED", "OURS", "UNKNOWN", "Estimate", "Evaluation", "Figures", "evaluate"]

OURS = "discriminator"
_VARIANTS = {"discriminator without its graph": False, OURS: True}

HELD_OUT = "held out"
UNKNOWN = "held out, and unknown to the lexicon"
LISTED = "lay terms"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One method on one set of complaints. ahead: the discriminator's top-1 less this one's, paired."""

    values: Mapping[str, Estimate]
    ahead: Estimate | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures by set of complaints and method, each the mean over the seeds.

    sizes: complaints in each set (of one seed), and those learned from. fluency: by seed, how well the other head tells
    complaints from garbled text (area under the ROC curve). epochs: by seed, how many there were. seconds: of it all.
    """

    encoder: str
    train_encoder: bool
    seeds: tuple[int, ...]
    sizes: Mapping[str, int]
    tables: Mapping[str, Mapping[str, Figures]]
    fluency: tuple[float, ...]
    epochs: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What one method answered in one round, [N, K], and what was asked for, [N]."""

    probabilities: Tensor
    labels: Tensor


Sheets = dict[str, dict[str, list[_Sheet]]]


def evaluate(
    model: DiagnosisDiscriminator,
    training: TrainingConfig | None = None,
    data: DataConfig | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    train_encoder: bool = False,
    states: Path | None = None,
    samples: int = 1000,
    progress: bool | None = None,
) -> tuple[Evaluation, DiagnosisDiscriminator]:
    """Train and measure once a seed; also the first seed's discriminator, trained.

    A seed draws the complaints, splits templates and phrases anew and begins the weights anew. Three sets are answered:
    complaints whose templates and phrases nobody has learned; the same ones read with a lexicon that does not know
    these phrases either; and the conditions' lay terms, which no template wrote. Intervals are percentiles of `samples`
    bootstrap samples of the presentations: they know nothing of how else templates and phrases could have been split.

    model: untrained; its encoder and config are used, itself is left as it is. states: a folder in which training
    leaves what it goes on from. Raises what `train_discriminator` raises, and ImportError without scikit-learn.
    """
    begun = time.monotonic()
    # Every method that reads by the encoder shares its work, which takes longer than all the learning.
    encodings = Encodings(model)
    course = _Course(model, training or TrainingConfig(), train_encoder, encodings, states, progress)
    sheets: Sheets = {}
    ours: list[_Taught] = []
    for seed in seeds:
        complaints = draw_complaints(data, seed)
        methods = baselines(complaints, encodings)
        taught = {name: course.taught(name, complaints, seed) for name in _VARIANTS}
        methods |= {name: _method(one.model, None if train_encoder else encodings) for name, one in taught.items()}
        ours.append(taught[OURS])
        _answer(sheets, methods, model, complaints)
    sizes = {name: len(rows[OURS][0].labels) for name, rows in sheets.items()}
    evaluation = Evaluation(
        encoder=model.config.encoder or type(model.encoder).__name__,
        train_encoder=train_encoder,
        seeds=tuple(seeds),
        sizes={"learned from": sum(one.fluent for one in complaints.train), **sizes},
        tables={name: _table(rows, shared=name == LISTED, samples=samples) for name, rows in sheets.items()},
        fluency=tuple(one.model.trained_on.figures[FLUENT] for one in ours if one.model.trained_on),
        epochs=tuple(one.epochs for one in ours),
        seconds=time.monotonic() - begun,
    )
    return evaluation, ours[0].model


@dataclass(frozen=True, slots=True)
class _Taught:
    model: DiagnosisDiscriminator
    epochs: int


@dataclass(frozen=True, slots=True)
class _Course:
    """How a variant of one model is taught; the model itself is left as it is."""

    model: DiagnosisDiscriminator
    training: TrainingConfig
    train_encoder: bool
    encodings: Encodings
    states: Path | None
    progress: bool | None

    def taught(self, variant: str, complaints: Complaints, seed: int) -> _Taught:
        one = _sibling(self.model, _VARIANTS[variant], self.train_encoder)
        done = train_discriminator(
            one,
            self.training.model_copy(update={"seed": seed}),
            complaints=complaints,
            train_encoder=self.train_encoder,
            encodings=self.encodings,
            state=self.states / f"{variant.replace(' ', '-')}-{seed}.pt" if self.states else None,
            progress=self.progress,
        )
        return _Taught(one, len(done.epochs))


def _sibling(model: DiagnosisDiscriminator, use_graph: bool, own_encoder: bool) -> DiagnosisDiscriminator:
    encoder = copy.deepcopy(model.encoder) if own_encoder else model.encoder
    sibling = DiagnosisDiscriminator(encoder, model.tokenizer, replace(model.config, use_graph=use_graph))
    sibling.to(model.fusion.hidden.weight.device)
    return sibling


def _method(model: DiagnosisDiscriminator, encodings: Encodings | None) -> Method:
    def answer(texts: Sequence[str], find: Find) -> Tensor:
        return answers(model, Texts(model, [Complaint(text, None) for text in texts], encodings, find))[0]

    return answer


def _answer(sheets: Sheets, methods: Mapping[str, Method], model: DiagnosisDiscriminator, drawn: Complaints) -> None:
    """Ask every method every set of complaints of this round."""
    test = [one for one in drawn.test if one.fluent]
    asked: dict[str, tuple[Sequence[Complaint], Find]] = {
        HELD_OUT: (test, find_symptoms),
        UNKNOWN: (test, finder(drawn.lexicon)),
        LISTED: (listed_complaints(), find_symptoms),
    }
    for name, (complaints, find) in asked.items():
        labels = labels_of(model, complaints)
        for method, answer in methods.items():
            sheet = _Sheet(answer([one.text for one in complaints], find), labels)
            sheets.setdefault(name, {}).setdefault(method, []).append(sheet)


def _table(rows: Mapping[str, Sequence[_Sheet]], *, shared: bool, samples: int) -> dict[str, Figures]:
    """The figures of each method. shared: the presentations are the same in each round, and resampled as such."""
    measured = {name: [figures(one.probabilities, one.labels) for one in sheets] for name, sheets in rows.items()}
    sizes = [len(one.labels) for one in rows[OURS]]

    def estimate(rounds: list[Measure]) -> Estimate:
        mean = mean_of(rounds)
        ends = intervals([mean], sizes[:1], samples=samples) if shared else intervals(rounds, sizes, samples=samples)
        return Estimate(float(mean(None)), *ends)

    def ahead(rounds: Sequence[Mapping[str, Measure]]) -> Estimate:
        return estimate([minus(ours["top-1"], one["top-1"]) for ours, one in zip(measured[OURS], rounds, strict=True)])

    return {
        method: Figures(
            {name: estimate([one[name] for one in rounds]) for name in rounds[0]},
            None if method == OURS else ahead(rounds),
        )
        for method, rounds in measured.items()
    }
