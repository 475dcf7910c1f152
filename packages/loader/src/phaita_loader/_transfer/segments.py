"""The segments of one file: which worker brings which bytes, in file order, smaller ones towards the end."""

from __future__ import annotations

from dataclasses import dataclass

from phaita_loader._transfer.ranges import Range, Ranges

__all__ = ["SPLIT_FROM", "Segment", "Segments"]

SPLIT_FROM = 16 << 20
"""The bytes of a file from which on a second connection is worth its cost."""

_LARGEST = 16 << 20
_SMALLEST = 1 << 20
_SLOW = 4 << 20  # the rest of a segment, when no other is free: its worker is slow, and half of the rest is taken


@dataclass(slots=True, eq=False)
class Segment:
    """The bytes [at, end) that one worker is to bring: `at` moves on with it, another may take half of the rest.

    whole: True if the server sends the whole file whatever range is asked for, so that no half can be taken.
    """

    at: int
    end: int
    whole: bool = False


class Segments:
    """The claimed segments of one file of `size` bytes. Not thread-safe: its owner holds a lock around each call."""

    def __init__(self, size: int, connections: int) -> None:
        self._size = size
        # A second connection costs round trips that a small file does not earn back.
        self._connections = connections if size >= SPLIT_FROM else 1
        self._claimed: list[Segment] = []

    def claim(self, present: Ranges) -> Segment | None:
        """Give one more worker a segment, if there is work for it; `present` are the bytes that are there."""
        segment = self._next(present) or self._split_slowest()
        if segment is not None:
            self._claimed.append(segment)
        return segment

    def has_work(self, present: Ranges) -> bool:
        """True if `claim` would find a segment for a second worker."""
        return self._connections > 1 and bool(self._free(present) or self._slowest())

    def release(self, segment: Segment) -> None:
        """Free the bytes that the segment's worker did not bring; do nothing the second time."""
        if segment in self._claimed:
            self._claimed.remove(segment)

    def claim_whole_file(self, segment: Segment) -> bool:
        """Extend the segment to the whole file; return False where other workers bring parts of it."""
        # Two workers would write the same bytes, of which half are thrown away.
        if len(self._claimed) > 1:
            return False
        segment.at, segment.end, segment.whole = 0, self._size, True
        return True

    def _free(self, present: Ranges) -> tuple[Range, ...]:
        for segment in self._claimed:
            if segment.at < segment.end:
                present = present.add(segment.at, segment.end)
        return present.missing(0, self._size)

    def _next(self, present: Ranges) -> Segment | None:
        free = self._free(present)
        if not free:
            return None
        start, end = free[0]
        if self._connections == 1:
            return Segment(start, end)
        # Ever smaller segments let all workers end together.
        fair = sum(b - a for a, b in free) // (2 * self._connections)
        return Segment(start, min(end, start + min(_LARGEST, max(_SMALLEST, fair))))

    def _split_slowest(self) -> Segment | None:
        slow = self._slowest()
        if slow is None:
            return None
        half = Segment((slow.at + slow.end) // 2, slow.end)
        slow.end = half.at
        return half

    def _slowest(self) -> Segment | None:
        rest = [segment for segment in self._claimed if not segment.whole and segment.end - segment.at >= _SLOW]
        return max(rest, key=lambda segment: segment.end - segment.at, default=None) if self._connections > 1 else None
