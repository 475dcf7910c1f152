"""Which connection brings which bytes of one file: pieces in file order, smaller ones towards the end."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SPLIT_FROM", "Piece", "Pieces", "Span", "gaps", "spans_with"]

Span = tuple[int, int]

SPLIT_FROM = 16 << 20  # bytes of a file that is worth a second connection
_LARGEST = 16 << 20
_SMALLEST = 1 << 20
_SLOW = 4 << 20  # what is left of a piece when nothing else is: its connection is a slow one, and half is taken from it


def spans_with(spans: tuple[Span, ...], start: int, end: int) -> tuple[Span, ...]:
    """The sorted, disjoint half-open byte ranges, with [start, end) added."""
    apart = [span for span in spans if span[1] < start or span[0] > end]
    touching = [span for span in spans if not (span[1] < start or span[0] > end)]
    joined = (min([start, *(a for a, _ in touching)]), max([end, *(b for _, b in touching)]))
    return tuple(sorted([*apart, joined]))


def gaps(spans: tuple[Span, ...], start: int, end: int) -> tuple[Span, ...]:
    """What of [start, end) the sorted, disjoint ranges leave out."""
    found = []
    for a, b in spans:
        if start < min(a, end):
            found.append((start, min(a, end)))
        start = max(start, b)
    return (*found, (start, end)) if start < end else tuple(found)


@dataclass(slots=True, eq=False)
class Piece:
    """The bytes [at, end) that one connection is to bring: `at` moves with it, another one may take half of the rest.

    `whole`: the server sends everything whatever it is asked for, so that no half can be taken.
    """

    at: int
    end: int
    whole: bool = False


class Pieces:
    """The pieces of one file of `size` bytes. Not thread-safe: its owner holds a lock around each call."""

    def __init__(self, size: int, connections: int) -> None:
        self._size = size
        self._connections = connections if size >= SPLIT_FROM else 1
        self._taken: list[Piece] = []

    def take(self, spans: tuple[Span, ...]) -> Piece | None:
        """Work for one more connection, where there is some; `spans` are there already."""
        piece = self._next(spans) or self._half()
        if piece is not None:
            self._taken.append(piece)
        return piece

    def offers(self, spans: tuple[Span, ...]) -> bool:
        """Whether `take` would find something for a second connection."""
        return self._connections > 1 and bool(self._free(spans) or self._slowest())

    def give_back(self, piece: Piece) -> None:
        """Its connection ended; what it did not bring is free again."""
        if piece in self._taken:
            self._taken.remove(piece)

    def claim_all(self, piece: Piece) -> bool:
        """The piece's connection brings the whole file from its first byte on; False where others bring parts of it."""
        if len(self._taken) > 1:
            return False
        piece.at, piece.end, piece.whole = 0, self._size, True
        return True

    def _free(self, spans: tuple[Span, ...]) -> tuple[Span, ...]:
        for piece in self._taken:
            if piece.at < piece.end:
                spans = spans_with(spans, piece.at, piece.end)
        return gaps(spans, 0, self._size)

    def _next(self, spans: tuple[Span, ...]) -> Piece | None:
        free = self._free(spans)
        if not free:
            return None
        start, end = free[0]
        if self._connections == 1:
            return Piece(start, end)
        # Ever smaller pieces let all connections end together.
        fair = sum(b - a for a, b in free) // (2 * self._connections)
        return Piece(start, min(end, start + min(_LARGEST, max(_SMALLEST, fair))))

    def _half(self) -> Piece | None:
        slow = self._slowest()
        if slow is None:
            return None
        half = Piece((slow.at + slow.end) // 2, slow.end)
        slow.end = half.at
        return half

    def _slowest(self) -> Piece | None:
        rest = [piece for piece in self._taken if not piece.whole and piece.end - piece.at >= _SLOW]
        return max(rest, key=lambda piece: piece.end - piece.at, default=None) if self._connections > 1 else None
