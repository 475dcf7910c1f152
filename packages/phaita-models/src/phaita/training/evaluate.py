"""Evaluate the discriminator on unseen complaints, against simpler methods and against itself without the graph."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from phaita.data.symptoms import find_symptoms, finder
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.training._record import FLUENCY_FIGURE
from phaita.training._texts import Encodings, FindSymptoms, Texts, labels_of, predict
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
    """A figure and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one method on one set of complaints. ahead: the discriminator's top-1 minus this one's, paired."""

    values: Mapping[str, Estimate]
    ahead: Estimate | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures by set of complaints and method, each the mean over the seeds.

    sizes: complaints in each set and in training, for one seed. fluency: by seed, the area under the ROC curve of the
    realism head on complaints against garbled text. epochs: the number of epochs by seed. seconds: the total time.
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
class _Answers:
    """The probabilities that one method gave for one seed, [N, K], and the true labels, [N]."""

    probabilities: Tensor
    labels: Tensor


AnswersBySet = dict[str, dict[str, list[_Answers]]]


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
    """Train and measure once per seed; return the evaluation and the trained discriminator of the first seed.

    Each seed draws new complaints, a new split of templates and phrases, and new initial weights. There are three test
    sets: complaints whose templates and phrases were held out; the same ones read with a lexicon that lacks these
    phrases; and the conditions' lay terms, which are written by hand. Intervals are percentiles of `samples` bootstrap
    samples of the presentations; they do not include the variation between splits.

    model: untrained; its encoder and config are used, and it is not changed. states: a folder for the states from which
    training resumes. Raises the errors of `train_discriminator`, and ImportError without scikit-learn.
    """
    begun = time.monotonic()
    # Shared by all methods that use the encoder: encoding takes longer than all their training.
    encodings = Encodings(model)
    trainer = _VariantTrainer(model, training or TrainingConfig(), train_encoder, encodings, states, progress)
    answers: AnswersBySet = {}
    ours: list[_Trained] = []
    for seed in seeds:
        complaints = draw_complaints(data, seed)
        methods = baselines(complaints, encodings)
        trained = {name: trainer.train(name, complaints, seed) for name in _VARIANTS}
        methods |= {name: _method(one.model, None if train_encoder else encodings) for name, one in trained.items()}
        ours.append(trained[OURS])
        _ask_all(answers, methods, model, complaints)
    sizes = {name: len(rows[OURS][0].labels) for name, rows in answers.items()}
    evaluation = Evaluation(
        encoder=model.config.encoder or type(model.encoder).__name__,
        train_encoder=train_encoder,
        seeds=tuple(seeds),
        sizes={"learned from": sum(one.fluent for one in complaints.train), **sizes},
        tables={name: _table(rows, shared=name == LISTED, samples=samples) for name, rows in answers.items()},
        fluency=tuple(one.model.trained_on.figures[FLUENCY_FIGURE] for one in ours if one.model.trained_on),
        epochs=tuple(one.epochs for one in ours),
        seconds=time.monotonic() - begun,
    )
    return evaluation, ours[0].model


@dataclass(frozen=True, slots=True)
class _Trained:
    model: DiagnosisDiscriminator
    epochs: int


@dataclass(frozen=True, slots=True)
class _VariantTrainer:
    """Trains variants of one model, which itself is not changed."""

    model: DiagnosisDiscriminator
    training: TrainingConfig
    train_encoder: bool
    encodings: Encodings
    states: Path | None
    progress: bool | None

    def train(self, variant: str, complaints: Complaints, seed: int) -> _Trained:
        one = _variant_of(self.model, _VARIANTS[variant], self.train_encoder)
        done = train_discriminator(
            one,
            self.training.model_copy(update={"seed": seed}),
            complaints=complaints,
            train_encoder=self.train_encoder,
            encodings=self.encodings,
            state=self.states / f"{variant.replace(' ', '-')}-{seed}.pt" if self.states else None,
            progress=self.progress,
        )
        return _Trained(one, len(done.epochs))


def _variant_of(model: DiagnosisDiscriminator, use_graph: bool, own_encoder: bool) -> DiagnosisDiscriminator:
    # Training changes the encoder's weights; the other variants need the original ones.
    encoder = copy.deepcopy(model.encoder) if own_encoder else model.encoder
    variant = DiagnosisDiscriminator(encoder, model.tokenizer, replace(model.config, use_graph=use_graph))
    variant.to(model.fusion.hidden.weight.device)
    return variant


def _method(model: DiagnosisDiscriminator, encodings: Encodings | None) -> Method:
    def answer(texts: Sequence[str], find: FindSymptoms) -> Tensor:
        return predict(model, Texts(model, [Complaint(text, None) for text in texts], encodings, find))[0]

    return answer


def _ask_all(
    answers: AnswersBySet, methods: Mapping[str, Method], model: DiagnosisDiscriminator, drawn: Complaints
) -> None:
    """Add the answers of every method to every test set of this seed."""
    test = [one for one in drawn.test if one.fluent]
    asked: dict[str, tuple[Sequence[Complaint], FindSymptoms]] = {
        HELD_OUT: (test, find_symptoms),
        UNKNOWN: (test, finder(drawn.lexicon)),
        LISTED: (listed_complaints(), find_symptoms),
    }
    for name, (complaints, find) in asked.items():
        labels = labels_of(model, complaints)
        for method, answer in methods.items():
            answer_of_seed = _Answers(answer([one.text for one in complaints], find), labels)
            answers.setdefault(name, {}).setdefault(method, []).append(answer_of_seed)


def _table(rows: Mapping[str, Sequence[_Answers]], *, shared: bool, samples: int) -> dict[str, Figures]:
    """Return the figures of each method. shared: every seed has the same presentations, which are resampled once."""
    measured = {name: [figures(one.probabilities, one.labels) for one in answers] for name, answers in rows.items()}
    sizes = [len(one.labels) for one in rows[OURS]]

    def estimate(rounds: list[Measure]) -> Estimate:
        mean = mean_of(rounds)
        # Equal presentations in every round are one sample, not independent ones.
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
