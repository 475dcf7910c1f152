"""Byte ranges of a file, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Range", "Ranges"]

Range: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Half-open byte ranges, sorted and disjoint."""

    spans: tuple[Range, ...] = ()

    @property
    def size(self) -> int:
        """The number of bytes in all ranges."""
        return sum(end - start for start, end in self.spans)

    @property
    def prefix(self) -> int:
        """The number of bytes from 0 on without a gap."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0

    def add(self, start: int, end: int) -> Ranges:
        """Return these ranges with [start, end) added."""
        apart = [span for span in self.spans if span[1] < start or span[0] > end]
        touching = [span for span in self.spans if not (span[1] < start or span[0] > end)]
        joined = (min([start, *(a for a, _ in touching)]), max([end, *(b for _, b in touching)]))
        return Ranges(tuple(sorted([*apart, joined])))

    def missing(self, start: int, end: int) -> tuple[Range, ...]:
        """Return the parts of [start, end) that are in no range."""
        found = []
        for a, b in self.spans:
            if start < min(a, end):
                found.append((start, min(a, end)))
            start = max(start, b)
        return (*found, (start, end)) if start < end else tuple(found)
