"""The events of a fetch, as frozen records; the terminal bar is one listener among others."""

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
    """The bytes to be fetched, and how many of them earlier calls left in partial files."""

    repo_id: str
    files: int
    total: int
    present: int


@dataclass(frozen=True, slots=True)
class Received:
    """The number of new bytes of one file; negative where bytes were thrown away."""

    path: str
    count: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A connection that broke after it had brought bytes; the next one is made at once."""

    path: str
    cause: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The byte at which the download of a file continues."""

    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause, its reason and its length in seconds; `until` is the instant of its end on the call's clock."""

    reason: str
    seconds: float
    until: float


@dataclass(frozen=True, slots=True)
class Verified:
    """A file whose digest is the one that the Hub lists."""

    path: str


@dataclass(frozen=True, slots=True)
class Done:
    """The commit of a snapshot that is complete."""

    commit: str


Event: TypeAlias = Plan | Received | Dropped | Resumed | Wait | Verified | Done
Listener: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore an event: the listener that shows nothing."""


@contextmanager
def bar() -> Iterator[Listener]:
    """Yield a tqdm bar on stderr, or `silent` if stderr is not a terminal or HF_HUB_DISABLE_PROGRESS_BARS is set."""
    disabled = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in {"1", "ON", "YES", "TRUE"}
    if disabled or not (sys.stderr and sys.stderr.isatty()):
        yield silent
        return
    # Imported here, as a silent process needs no tqdm.
    from tqdm import tqdm

    # The delay keeps a fetch from a complete cache from flashing an empty bar.
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
