"""Training of the discriminator on synthetic complaints, with early stopping, seeds, and states to go on from."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm import tqdm

from phaita.data.symptoms import find_symptoms, finder
from phaita.models._seeds import seeds
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.training._record import training_record
from phaita.training._state import Epoch, State, digest, read_state, write_state
from phaita.training._texts import GARBLED, Encodings, Texts
from phaita.training.complaints import Complaints, draw_complaints, poorer_lexicons
from phaita.utils.config import DataConfig, TrainingConfig

__all__ = ["Epoch", "Training", "is_over", "train_discriminator"]


@dataclass(frozen=True, slots=True)
class Training:
    """What happened, epoch by epoch, and the number of the epoch whose weights the model has now, from 0."""

    epochs: tuple[Epoch, ...]
    best: int


def train_discriminator(
    model: DiagnosisDiscriminator,
    training: TrainingConfig | None = None,
    data: DataConfig | None = None,
    *,
    complaints: Complaints | None = None,
    train_encoder: bool = False,
    encodings: Encodings | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Training:
    """Teach both heads, the graph and, if asked, the text encoder; the model ends with the weights of its best epoch.

    Diagnosis learns by cross entropy. The other head learns to tell the complaints from garbled copies of them: there
    are no patients' texts here, so its score says whether a text is fluent, and nothing of who wrote it.

    The best epoch has the lowest loss on `complaints.validation`; `training.patience` epochs without a better one end
    the training. Afterwards the model is in evaluation mode, and `trained_on` holds what it learned from and its
    figures on `complaints.test`, of one pass without Monte Carlo dropout.

    complaints: by default drawn by `data` and `training.seed`.
    train_encoder: False encodes every text once, so that an epoch takes seconds; the encoder stays as it is.
    encodings: of that encoder, to share between models.
    state: a file that each epoch replaces. If it is there, the training goes on from it, and on the same CPU ends with
        the same bits as one that was never stopped; more epochs and another patience may be asked for.
    progress: a bar on stderr; None shows it on terminals only.

    Initial weights (of an untrained model's heads), order and dropout follow from `training.seed`; the caller's random
    numbers are left as they were. Raises InvalidFile for the state of another run, FloatingPointError where the loss is
    no number, OSError.
    """
    training = training or TrainingConfig()
    complaints = complaints or draw_complaints(data, training.seed)
    run = _Run(model, training, train_encoder)
    run.begin()
    encodings = None if train_encoder else encodings or Encodings(model)
    finds = [find_symptoms, *map(finder, poorer_lexicons(training.seed))]
    train, validation = (Texts(model, part, encodings, *finds) for part in (complaints.train, complaints.validation))
    epochs = run.epochs(train, validation, Path(state) if state else None, _identity(run, complaints), progress)
    model.trained_on = training_record(model, complaints, encodings, training)
    return Training(epochs, _best(epochs))


def is_over(epochs: Sequence[Epoch], limit: int, patience: int) -> bool:
    """Whether there are enough epochs, or as many as `patience` since the best one."""
    return len(epochs) >= limit or (bool(epochs) and len(epochs) - 1 - _best(epochs) >= patience)


def _best(epochs: Sequence[Epoch]) -> int:
    return min(range(len(epochs)), key=lambda number: epochs[number].validation)


@dataclass(frozen=True, slots=True)
class _Run:
    """A model and how it is trained."""

    model: DiagnosisDiscriminator
    training: TrainingConfig
    train_encoder: bool

    @property
    def heads(self) -> list[nn.Module]:
        model = self.model
        return [part for part in (model.norm, model.graph, model.fusion) if part is not None]

    def begin(self) -> None:
        """Draw the weights that have learned nothing by the seed."""
        # What made the model drew them by numbers that nobody may know.
        if self.model.trained:
            return
        with _randomness(self.training.seed):
            for part in self.heads:
                for module in part.modules():
                    if hasattr(module, "reset_parameters"):
                        module.reset_parameters()

    def optimizer(self) -> torch.optim.AdamW:
        training = self.training
        groups: list[dict[str, Any]] = [{"params": [one for part in self.heads for one in part.parameters()]}]
        if self.train_encoder:
            groups.append({"params": list(self.model.encoder.parameters()), "lr": training.learning_rate})
        return torch.optim.AdamW(groups, lr=training.head_learning_rate, weight_decay=training.weight_decay)

    def learned(self) -> dict[str, Tensor]:
        """Copies of the weights that learn, by name."""
        # An encoder that stays as it is would only make each state larger, by hundreds of megabytes.
        fixed = () if self.train_encoder else ("encoder.",)
        weights = self.model.state_dict().items()
        return {name: weight.detach().clone() for name, weight in weights if not name.startswith(fixed)}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(weights, strict=False)

    def epochs(
        self, train: Texts, validation: Texts, path: Path | None, run: Mapping[str, str], progress: bool | None
    ) -> tuple[Epoch, ...]:
        """All epochs, those of the state's file included; the model ends with the best one's weights."""
        training, optimizer = self.training, self.optimizer()
        state = read_state(path, run) if path else None
        if state:
            self.restore(state.weights)
            optimizer.load_state_dict(dict(state.optimizer))
        state = state or State((), {}, {}, {})
        hidden = None if progress is None else not progress
        bar = tqdm(total=training.num_epochs, initial=len(state.epochs), unit="epoch", disable=hidden, leave=False)
        own = seeds(training.seed, training.num_epochs)
        with bar:
            while not is_over(state.epochs, training.num_epochs, training.patience):
                # Each epoch has numbers of its own, so that a state need not hold how far they were drawn.
                with _randomness(own[len(state.epochs)]):
                    loss = self._learn(train, optimizer)
                done = (*state.epochs, Epoch(loss, self._judge(validation)))
                weights = self.learned()
                best = weights if _best(done) == len(done) - 1 else state.best
                state = State(done, weights, best, optimizer.state_dict())
                if path:
                    write_state(path, run, state)
                bar.set_postfix(validation=f"{done[-1].validation:.3f}", refresh=False)
                bar.update()
        self.restore(state.best)
        self.model.eval()
        return state.epochs

    def _learn(self, texts: Texts, optimizer: torch.optim.AdamW) -> float:
        """One pass in random order; the mean loss."""
        model, training = self.model, self.training
        model.train()
        total = 0.0
        for rows in texts.batches(training.batch_size, torch.randperm(len(texts))):
            ways = self._ways(len(rows), len(texts.states)).to(rows.device)  # [B]
            loss = _losses(model, texts, rows, texts.text(model, rows), ways).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        return _finite(total / len(texts))

    def _ways(self, texts: int, ways: int) -> Tensor:  # [B]
        """By which lexicon the symptoms of each text are found: mostly the whole one, 0."""
        poorer = torch.rand(texts).lt(self.training.evidence_dropout)
        return torch.randint(1, ways, (texts,)) * poorer

    def _judge(self, texts: Texts) -> float:
        """The mean loss, each lexicon weighed by how often training uses it; no dropout."""
        model, dropout = self.model, self.training.evidence_dropout
        model.eval()
        poorer = len(texts.states) - 1
        weights = [1.0 - dropout, *[dropout / poorer] * poorer]
        total = 0.0
        with torch.no_grad():
            for rows in texts.batches(256):
                text = texts.text(model, rows)
                for way, weight in enumerate(weights):
                    total += weight * _losses(model, texts, rows, text, way).sum().item()
        return _finite(total / len(texts))


def _losses(model: DiagnosisDiscriminator, texts: Texts, rows: Tensor, text: Tensor, ways: Tensor | int) -> Tensor:
    """The loss of both heads for each text, [B], whose symptoms were found in these ways, [B]."""
    logits, realism = model.fusion(model.features(text, texts.states[ways, rows]))
    diagnosis = cross_entropy(logits, texts.labels[rows], ignore_index=GARBLED, reduction="none")
    return diagnosis + binary_cross_entropy_with_logits(realism.squeeze(-1), texts.fluent[rows], reduction="none")


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}; a lower learning_rate or head_learning_rate may help")
    return loss


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """torch's random numbers by a seed for a while; afterwards they go on as if nothing had been drawn."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _identity(run: _Run, complaints: Complaints) -> dict[str, str]:
    """What a state's file must agree in with the run that goes on from it."""
    # These two say when to end, not what an epoch does.
    settings = run.training.model_dump(exclude={"num_epochs", "patience"})
    texts = [f"{one.code} {one.text}" for one in (*complaints.train, *complaints.validation)]
    return {
        "model": str(asdict(run.model.config)),
        "initial weights": digest(run.model.state_dict()),
        "settings": str({**settings, "train_encoder": run.train_encoder}),
        "complaints": digest(texts),
    }
