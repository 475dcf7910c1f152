"""The values a scenario is made of; toxiproxy/README.md explains the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Prepare = Literal[
    "", "missing", "gated", "private", "moving", "cached", "cached_partial", "damaged", "truncated", "read_only"
]
PREPARE: tuple[Prepare, ...] = get_args(Prepare)
CACHED: tuple[Prepare, ...] = ("cached", "cached_partial", "damaged", "truncated", "read_only")
"""Those that need an earlier call without faults."""

CONTENDERS = ("phaita_loader", "huggingface_hub", "transformers")
OPENS = "hf_opens_everything"
"""The one token that the Hub of every case knows."""


@dataclass(frozen=True)
class Toxic:
    """One of Toxiproxy's toxics, in its own words and units."""

    type: str
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lift:
    """When the fault goes away, in seconds after the contender's call; after `for_seconds` it is back, and so forth."""

    after_seconds: float
    for_seconds: float | None = None

    def gone(self, elapsed: float) -> bool:
        """True if the fault is lifted now."""
        if self.for_seconds is not None:
            elapsed %= self.after_seconds + self.for_seconds
        return elapsed >= self.after_seconds


@dataclass(frozen=True)
class Expect:
    """The required result of the loader; None demands nothing. `within` is seconds of the call.

    `requests_max` counts what reached the Hub and its CDN; `says` is a text in its message or its output.
    """

    outcome: str
    attempts: int | None = None
    transfer_ratio_max: float | None = None
    within: float | None = None
    requests_max: int | None = None
    says: str = ""

    def __str__(self) -> str:
        parts = [self.outcome]
        parts += [] if self.attempts is None else [f"{self.attempts} failed attempt{'' if self.attempts == 1 else 's'}"]
        parts += [] if self.transfer_ratio_max is None else [f"ratio at most {self.transfer_ratio_max:g}"]
        parts += [] if self.within is None else [f"within {self.within:g} s"]
        parts += [] if self.requests_max is None else [f"{self.requests_max} requests at most"]
        parts += [f"says {self.says!r}"] if self.says else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Patience:
    """The loader's policy, in `phaita_loader.Policy`'s words; seconds."""

    attempts: int = 3
    timeout: float = 60.0
    stall: float = 3.0
    connect: float = 2.0
    deadline: float | None = None
    backoff: Mapping[str, float] = field(default_factory=lambda: {"first": 0.5})
