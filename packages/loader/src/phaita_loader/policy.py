"""The retry policy: values and arithmetic. Nothing here sleeps or reads a clock."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

__all__ = ["Backoff", "Deadline", "Policy", "answer_limit"]

# Two servers may be involved, the Hub and its CDN: each costs a connection and the wait for a first byte.
_WAITS_FOR_AN_ANSWER = 4


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait after each failed attempt: `first * factor**n` seconds, at most `cap`, varied by `jitter`.

    `jitter` 0.25 means a random wait between 75 % and 125 % of that. Raises ValueError for invalid numbers.
    """

    first: float = 10.0
    factor: float = 2.0
    cap: float | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _not_negative("first", self.first)
        if self.cap is not None:
            _not_negative("cap", self.cap)
        if not (_is_number(self.factor) and self.factor >= 1.0):
            raise ValueError(f"factor must be 1 or more, got {self.factor!r}")
        if not (_is_number(self.jitter) and 0.0 <= self.jitter <= 1.0):
            raise ValueError(f"jitter must lie between 0 and 1, got {self.jitter!r}")

    def delay(self, failures: int, random: float = 0.5) -> float:
        """Return the seconds to wait after `failures` in a row (1 or more); `random` is drawn from [0, 1)."""
        try:
            wait = self.first * float(self.factor) ** (failures - 1)
        except OverflowError:  # after about 1,000 doublings; a cap and a first wait of 0 still hold
            wait = sys.float_info.max if self.first else 0.0
        if self.cap is not None:
            wait = min(wait, self.cap)
        return wait * (1.0 + self.jitter * (2.0 * random - 1.0))


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits and retries of a fetch; all times in seconds.

    attempts: tries of one step in all; those that made progress do not count.
    timeout: the hard limit of one attempt.
    stall: a connection on which nothing arrives for this long is dropped and resumed.
    connect: the limit for reaching a server, and again for the first byte of its answer.
    deadline: the limit of the whole call, counted from the call; None for none.
    connections: the number open at a time, for one large file or for several files.

    Raises ValueError for an invalid number.
    """

    attempts: int = 3
    timeout: float = 300.0
    stall: float = 30.0
    connect: float = 10.0
    deadline: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    connections: int = 4

    def __post_init__(self) -> None:
        _at_least_one("attempts (max_retries)", self.attempts)
        _at_least_one("connections", self.connections)
        for name in ("timeout", "stall", "connect"):
            _positive(name, getattr(self, name))
        if self.deadline is not None:
            _positive("deadline", self.deadline)


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant on the clock of the call, after which everything ends."""

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None, now: float) -> Deadline:
        """Return the instant `seconds` from `now`; None means never."""
        return cls() if seconds is None else cls(now + seconds)

    def remaining(self, now: float) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self.at - now)

    def passed(self, now: float) -> bool:
        """True if the instant has come."""
        return now >= self.at

    def earlier(self, other: Deadline) -> Deadline:
        """Return the one that comes first."""
        return self if self.at <= other.at else other


def answer_limit(connect: float) -> float:
    """Return the seconds that one answer may take to begin, however its head drips; `connect` is `Policy.connect`.

    Socket timeouts are per read, so they alone do not bound a head of which every byte is in time.
    """
    return _WAITS_FOR_AN_ANSWER * connect


def _is_number(value: object) -> bool:
    # isinstance takes a bool for an int, and nobody means True as a number.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _at_least_one(name: str, value: object) -> None:
    if not (_is_number(value) and isinstance(value, int) and value >= 1):
        raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")


def _not_negative(name: str, value: float) -> None:
    if not (_is_number(value) and value >= 0.0):
        raise ValueError(f"{name} must be a number of seconds, 0 or more, got {value!r}")


def _positive(name: str, value: float) -> None:
    if not (_is_number(value) and value > 0.0):
        raise ValueError(f"{name} must be a number of seconds above 0, got {value!r}")
