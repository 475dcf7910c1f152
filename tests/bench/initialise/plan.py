"""The plan of the bench: the races of each model, their rounds and their contenders."""

from __future__ import annotations

from importlib.util import find_spec

from .contenders import OURS, READERS, THEIRS, TUNED
from .models import Model

ROUNDS = {"first": 3, "script": 1, "cold": 1, "repeated": 5}
"""The races of most models. Few rounds: on two cores a process imports for four seconds and more."""

_SPECIAL = {
    "deberta-v3-base": {**ROUNDS, "script": 4, "download": 2},
    "deberta-v3-base.bin": {"repeated": 5},
}


def rounds(model: Model, asked: int | None = None) -> dict[str, int]:
    """Race -> rounds; `asked` is the caller's own number for all of them."""
    return {race: asked or number for race, number in _SPECIAL.get(model.name, ROUNDS).items()}


def contenders(model: Model, race: str, device: str) -> tuple[str, ...]:
    """The contenders that are installed and can load this model on this device."""
    if race == "download":
        return THEIRS, OURS
    readers = [name for name in READERS if find_spec(name) and _reads(name, model, device)]
    tuned = [TUNED] if race in {"first", "repeated"} or device != "cpu" else []
    return THEIRS, *tuned, OURS, *readers


def _reads(name: str, model: Model, device: str) -> bool:
    if model.four_bit or model.revision != "main":
        return False
    return device != "cpu" or name != "instanttensor"
