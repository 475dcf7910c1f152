"""The state of a training run, saved after each epoch, from which the run resumes."""

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
    """The mean loss over the training texts and over the validation texts."""

    loss: float
    validation: float


@dataclass(frozen=True, slots=True)
class State:
    """Weights and optimizer after the last epoch, and the weights of the best one.

    The state of random generators is not part of it: each epoch is seeded by the run's seed and the epoch's number.
    """

    epochs: tuple[Epoch, ...]
    weights: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]


def write_state(path: Path, run: Mapping[str, str], state: State) -> None:
    """Replace the file atomically, so that it is always complete. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": _FORMAT,
        "run": dict(run),
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "weights": dict(state.weights),
        "best": dict(state.best),
        "optimizer": dict(state.optimizer),
    }
    # With the process id: two runs on one file must not write into one scratch file.
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def read_state(path: Path, run: Mapping[str, str]) -> State | None:
    """Return the state of that run, or None without a file. Raises InvalidFile if it is another run's or damaged."""
    if not path.exists():
        return None
    try:
        # weights_only, as unpickling an arbitrary file could run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
        saved_run, saved_format = content["run"], content["format"]
        epochs = tuple(Epoch(**epoch) for epoch in content["epochs"])
        state = State(epochs, content["weights"], content["best"], content["optimizer"])
    except Exception as error:  # torch, pickle and zipfile each have errors of their own
        raise InvalidFile(
            f"{path}: not the state of a training run ({type(error).__name__}: {error}); {_REMOVE}"
        ) from error
    others = [name for name in run if saved_run.get(name) != run[name]]
    if saved_format != _FORMAT or others:
        why = f"format {saved_format}" if saved_format != _FORMAT else f"other {', '.join(others)}"
        raise InvalidFile(f"{path}: the state of another training run ({why}); {_REMOVE}")
    return state


def digest(parts: Sequence[str] | Mapping[str, Tensor]) -> str:
    """Return the sha256 of texts, or of named weights."""
    sha = hashlib.sha256()
    if isinstance(parts, Mapping):
        for name, weight in parts.items():
            sha.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
            sha.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    else:
        for text in parts:
            # With the length, two lists that only split the same characters differently do not collide.
            sha.update(f"{len(text)} {text}\n".encode())
    return sha.hexdigest()


_REMOVE = "remove it to start again, or name another file"
