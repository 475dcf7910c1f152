"""Train the discriminator on synthetic complaints, with early stopping, seeds, and states from which it resumes."""

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
from phaita.models._seeds import item_seeds
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.training._record import training_record
from phaita.training._state import Epoch, State, digest, read_state, write_state
from phaita.training._texts import GARBLED, Encodings, Texts
from phaita.training.complaints import Complaints, draw_complaints, poorer_lexicons
from phaita.utils.config import DataConfig, TrainingConfig

__all__ = ["Epoch", "Training", "is_over", "train_discriminator"]


@dataclass(frozen=True, slots=True)
class Training:
    """The losses of each epoch, and the number of the epoch whose weights the model has now, from 0."""

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
    """Train both heads, the graph and, if asked, the text encoder; the model ends with the weights of its best epoch.

    The diagnosis head is trained by cross entropy, the realism head to separate the complaints from garbled copies of
    them: there are no patients' texts here, so its score says whether a text is fluent, and not who wrote it.

    The best epoch has the lowest loss on `complaints.validation`; training ends after `training.patience`
    epochs without a better one. Afterwards the model is in evaluation mode, and `trained_on` holds a description of the
    data and the figures on `complaints.test`, from one pass without Monte Carlo dropout.

    complaints: by default drawn from `data` and `training.seed`.
    train_encoder: False freezes the encoder and encodes every text once, so that an epoch takes seconds.
    encodings: a cache of that encoder's outputs, to share between models.
    state: a file that each epoch replaces. If it exists, training resumes from it, and on the same CPU ends with the
        same bits as an uninterrupted run; the number of epochs and the patience may have changed.
    progress: True shows a bar on stderr; None shows it on terminals only.

    Initial weights (of an untrained model's heads), order and dropout follow from `training.seed`; the caller's random
    generators are not changed. Raises InvalidFile for the state of another run, FloatingPointError for a loss that is
    not finite, OSError.
    """
    training = training or TrainingConfig()
    complaints = complaints or draw_complaints(data, training.seed)
    run = _Run(model, training, train_encoder)
    run.reset_heads()
    encodings = None if train_encoder else encodings or Encodings(model)
    finds = [find_symptoms, *map(finder, poorer_lexicons(training.seed))]
    train, validation = (Texts(model, part, encodings, *finds) for part in (complaints.train, complaints.validation))
    epochs = run.epochs(train, validation, Path(state) if state else None, _run_identity(run, complaints), progress)
    model.trained_on = training_record(model, complaints, encodings, training)
    return Training(epochs, _best(epochs))


def is_over(epochs: Sequence[Epoch], limit: int, patience: int) -> bool:
    """True if there are `limit` epochs, or `patience` epochs since the best one."""
    return len(epochs) >= limit or (bool(epochs) and len(epochs) - 1 - _best(epochs) >= patience)


def _best(epochs: Sequence[Epoch]) -> int:
    return min(range(len(epochs)), key=lambda number: epochs[number].validation)


@dataclass(frozen=True, slots=True)
class _Run:
    """A model and the settings of its training."""

    model: DiagnosisDiscriminator
    training: TrainingConfig
    train_encoder: bool

    @property
    def trained_parts(self) -> list[nn.Module]:
        model = self.model
        return [part for part in (model.norm, model.graph, model.fusion) if part is not None]

    def reset_heads(self) -> None:
        """Draw the weights of untrained heads again, by the seed."""
        # The constructor drew them from a generator in an unknown state, so they could not be reproduced.
        if self.model.trained:
            return
        with _seeded(self.training.seed):
            for part in self.trained_parts:
                for module in part.modules():
                    if hasattr(module, "reset_parameters"):
                        module.reset_parameters()

    def optimizer(self) -> torch.optim.AdamW:
        training = self.training
        groups: list[dict[str, Any]] = [{"params": [one for part in self.trained_parts for one in part.parameters()]}]
        if self.train_encoder:
            groups.append({"params": list(self.model.encoder.parameters()), "lr": training.learning_rate})
        return torch.optim.AdamW(groups, lr=training.head_learning_rate, weight_decay=training.weight_decay)

    def trained_weights(self) -> dict[str, Tensor]:
        """Return copies of the trained weights, by name."""
        # A frozen encoder would make each state larger by hundreds of megabytes.
        fixed = () if self.train_encoder else ("encoder.",)
        weights = self.model.state_dict().items()
        return {name: weight.detach().clone() for name, weight in weights if not name.startswith(fixed)}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(weights, strict=False)

    def epochs(
        self, train: Texts, validation: Texts, path: Path | None, run: Mapping[str, str], progress: bool | None
    ) -> tuple[Epoch, ...]:
        """Train and return all epochs, also those of the state; the model ends with the weights of the best one."""
        training, optimizer = self.training, self.optimizer()
        state = read_state(path, run) if path else None
        if state:
            self.restore(state.weights)
            optimizer.load_state_dict(dict(state.optimizer))
        state = state or State((), {}, {}, {})
        hidden = None if progress is None else not progress
        bar = tqdm(total=training.num_epochs, initial=len(state.epochs), unit="epoch", disable=hidden, leave=False)
        epoch_seeds = item_seeds(training.seed, training.num_epochs)
        with bar:
            while not is_over(state.epochs, training.num_epochs, training.patience):
                # Each epoch has its own seed, so that the saved state needs no state of the generators.
                with _seeded(epoch_seeds[len(state.epochs)]):
                    loss = self._train_epoch(train, optimizer)
                done = (*state.epochs, Epoch(loss, self._validation_loss(validation)))
                weights = self.trained_weights()
                best = weights if _best(done) == len(done) - 1 else state.best
                state = State(done, weights, best, optimizer.state_dict())
                if path:
                    write_state(path, run, state)
                bar.set_postfix(validation=f"{done[-1].validation:.3f}", refresh=False)
                bar.update()
        self.restore(state.best)
        self.model.eval()
        return state.epochs

    def _train_epoch(self, texts: Texts, optimizer: torch.optim.AdamW) -> float:
        """Train for one pass in random order; return the mean loss."""
        model, training = self.model, self.training
        model.train()
        total = 0.0
        for rows in texts.batches(training.batch_size, torch.randperm(len(texts))):
            lexicons = self._draw_lexicons(len(rows), len(texts.states)).to(rows.device)  # [B]
            loss = _losses(model, texts, rows, texts.text(model, rows), lexicons).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        return _check_finite(total / len(texts))

    def _draw_lexicons(self, texts: int, lexicons: int) -> Tensor:  # [B]
        """Draw the index of the lexicon for each text: mostly 0, the whole one."""
        poorer = torch.rand(texts).lt(self.training.evidence_dropout)
        return torch.randint(1, lexicons, (texts,)) * poorer

    def _validation_loss(self, texts: Texts) -> float:
        """Return the mean loss without dropout, each lexicon weighted by its share in training."""
        model, dropout = self.model, self.training.evidence_dropout
        model.eval()
        poorer = len(texts.states) - 1
        weights = [1.0 - dropout, *[dropout / poorer] * poorer]
        total = 0.0
        with torch.no_grad():
            for rows in texts.batches(256):
                text = texts.text(model, rows)
                for lexicon, weight in enumerate(weights):
                    total += weight * _losses(model, texts, rows, text, lexicon).sum().item()
        return _check_finite(total / len(texts))


def _losses(model: DiagnosisDiscriminator, texts: Texts, rows: Tensor, text: Tensor, lexicons: Tensor | int) -> Tensor:
    """Return the loss of both heads for each text, [B], with symptoms found by the lexicons of these indices, [B]."""
    logits, realism = model.fusion(model.features(text, texts.states[lexicons, rows]))
    diagnosis = cross_entropy(logits, texts.labels[rows], ignore_index=GARBLED, reduction="none")
    return diagnosis + binary_cross_entropy_with_logits(realism.squeeze(-1), texts.fluent[rows], reduction="none")


def _check_finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}; a lower learning_rate or head_learning_rate may help")
    return loss


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators inside the context; afterwards their state is as before."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _run_identity(run: _Run, complaints: Complaints) -> dict[str, str]:
    """Return what must be equal in a saved state and in the run that resumes from it."""
    # These two decide when training ends, not what an epoch does, so they may change.
    settings = run.training.model_dump(exclude={"num_epochs", "patience"})
    texts = [f"{one.code} {one.text}" for one in (*complaints.train, *complaints.validation)]
    return {
        "model": str(asdict(run.model.config)),
        "initial weights": digest(run.model.state_dict()),
        "settings": str({**settings, "train_encoder": run.train_encoder}),
        "complaints": digest(texts),
    }
