"""What a run leaves after each epoch, so that it goes on where it was stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phaita.errors import InvalidFile

__all__ = ["Epoch", "State", "digest", "read_state", "write_state"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Epoch:
    """The mean loss over the texts that were learned from, and over those of validation."""

    loss: float
    validation: float


@dataclass(frozen=True, slots=True)
class State:
    """Weights and optimizer after the last epoch, and the weights of the best one.

    Random numbers are no part of it: those of an epoch follow from the seed and the epoch's number.
    """

    epochs: tuple[Epoch, ...]
    weights: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]


def write_state(path: Path, run: Mapping[str, str], state: State) -> None:
    """Replace the file at once, so that there is always a whole one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": _FORMAT,
        "run": dict(run),
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "weights": dict(state.weights),
        "best": dict(state.best),
        "optimizer": dict(state.optimizer),
    }
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def read_state(path: Path, run: Mapping[str, str]) -> State | None:
    """What that run left; None where there is no file. Raises InvalidFile for another run's, or one that is damaged."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        there, form = content["run"], content["format"]
        epochs = tuple(Epoch(**epoch) for epoch in content["epochs"])
        state = State(epochs, content["weights"], content["best"], content["optimizer"])
    except Exception as error:  # torch, pickle and zipfile each have errors of their own
        raise InvalidFile(f"{path}: no state of a training run ({type(error).__name__}: {error}); {_REMOVE}") from error
    others = [name for name in run if there.get(name) != run[name]]
    if form != _FORMAT or others:
        why = f"format {form}" if form != _FORMAT else f"other {', '.join(others)}"
        raise InvalidFile(f"{path}: the state of another training run ({why}); {_REMOVE}")
    return state


def digest(parts: Sequence[str] | Mapping[str, Tensor]) -> str:
    """The sha256 of texts, or of named weights."""
    sha = hashlib.sha256()
    if isinstance(parts, Mapping):
        for name, weight in parts.items():
            sha.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
            sha.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    else:
        for text in parts:
            sha.update(f"{len(text)} {text}\n".encode())
    return sha.hexdigest()


_REMOVE = "remove it to begin anew, or name another file"
