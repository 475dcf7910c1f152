"""What happens while a model is fetched, as frozen records; the terminal bar is one listener among others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Done", "Dropped", "Event", "Listener", "Plan", "Received", "Resumed", "Verified", "Wait", "bar", "silent"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be fetched: bytes in all, and how many of them earlier calls left in partial files."""

    repo_id: str
    files: int
    total: int
    present: int


@dataclass(frozen=True, slots=True)
class Received:
    """`count` new bytes of one file; negative where bytes were thrown away."""

    path: str
    count: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A connection broke after it had brought bytes; the next one is made at once."""

    path: str
    cause: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The file goes on at this byte."""

    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing happens for that many seconds, and why; `until` is that instant on the call's clock."""

    reason: str
    seconds: float
    until: float


@dataclass(frozen=True, slots=True)
class Verified:
    """A file's digest is the one the Hub lists."""

    path: str


@dataclass(frozen=True, slots=True)
class Done:
    """The snapshot is complete."""

    commit: str


Event: TypeAlias = Plan | Received | Dropped | Resumed | Wait | Verified | Done
Listener: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener that shows nothing."""


@contextmanager
def bar() -> Iterator[Listener]:
    """A tqdm bar on stderr; silent where stderr is no terminal or HF_HUB_DISABLE_PROGRESS_BARS says so."""
    disabled = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in {"1", "ON", "YES", "TRUE"}
    if disabled or not (sys.stderr and sys.stderr.isatty()):
        yield silent
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, unit_divisor=1000, dynamic_ncols=True, delay=0.2) as shown:
        yield lambda event: _show(shown, event)


def _show(shown: tqdm[NoReturn], event: Event) -> None:
    match event:
        case Plan():
            shown.set_description_str(event.repo_id, refresh=False)
            shown.reset(event.total)
            shown.update(event.present)
        case Received():
            shown.update(event.count)
        case Dropped():
            shown.set_postfix_str(f"dropped ({event.cause}), resuming")
        case Wait():
            shown.set_postfix_str(f"{event.reason}; waiting {event.seconds:.0f} s")
        case Resumed() | Verified():
            shown.set_postfix_str("", refresh=False)
