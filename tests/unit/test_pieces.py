from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phaita_loader._transfer.segments import SPLIT_FROM, Piece, Pieces, Span, gaps, spans_with

MIB = 1 << 20
SIZES = st.integers(SPLIT_FROM, 300 * MIB)


def test_a_small_file_is_one_piece() -> None:
    pieces = Pieces(SPLIT_FROM - 1, connections=4)
    assert _bounds(pieces.take(())) == (0, SPLIT_FROM - 1)
    assert not pieces.offers(())
    assert pieces.take(()) is None


def test_with_one_connection_every_gap_is_one_piece() -> None:
    pieces = Pieces(100 * MIB, connections=1)
    spans = ((0, MIB), (10 * MIB, 11 * MIB))
    first = pieces.take(spans)
    assert _bounds(first) == (MIB, 10 * MIB)
    assert first is not None
    pieces.give_back(first)
    assert _bounds(pieces.take(((0, 11 * MIB),))) == (11 * MIB, 100 * MIB)


def test_pieces_come_in_file_order_and_get_smaller() -> None:
    pieces, bounds = Pieces(1000 * MIB, connections=4), []
    spans: tuple[Span, ...] = ()
    while (piece := pieces.take(spans)) is not None:
        bounds.append(_bounds(piece))
        spans = spans_with(spans, piece.at, piece.end)
        pieces.give_back(piece)
    lengths = [end - start for start, end in bounds]
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], min(lengths[:-1])) == (16 * MIB, MIB)


def test_a_slow_connection_gives_half_of_its_rest_away() -> None:
    pieces = Pieces(20 * MIB, connections=2)
    slow = pieces.take(())
    assert slow is not None
    end, slow.at = slow.end, MIB
    spans = ((0, MIB), (end, 20 * MIB))
    half = pieces.take(spans)
    assert half is not None
    assert _bounds(slow) == (MIB, half.at)
    assert half.end == end
    assert pieces.take(spans) is None, "what is left of either is not worth a connection"


def test_a_server_that_sends_everything_shares_with_nobody() -> None:
    pieces = Pieces(20 * MIB, connections=2)
    piece = pieces.take(())
    assert piece is not None
    pieces.claim_all(piece)
    assert _bounds(piece) == (0, 20 * MIB)
    assert not pieces.offers(())


@given(SIZES, st.lists(st.tuples(st.integers(0, 300 * MIB), st.integers(1, 20 * MIB)), max_size=6), st.data())
def test_every_byte_is_brought_once_whatever_the_connections_do(
    size: int, there: list[tuple[int, int]], data: st.DataObject
) -> None:
    pieces, work = Pieces(size, connections=4), list[Piece]()
    spans: tuple[Span, ...] = ()
    for start, length in there:
        if start < size:
            spans = spans_with(spans, start, min(size, start + length))
    moved, had = 0, sum(end - start for start, end in spans)
    for _ in range(10_000):
        if len(work) < 4 and (piece := pieces.take(spans)) is not None:
            work.append(piece)
            continue
        if not work:
            break
        piece = data.draw(st.sampled_from(work)) if len(work) > 1 and moved < 64 * MIB else work[0]
        step = min(piece.end - piece.at, data.draw(st.sampled_from([MIB, 16 * MIB])) if moved < 64 * MIB else size)
        spans = spans_with(spans, piece.at, piece.at + step)
        piece.at += step
        moved += step
        fails = moved < 64 * MIB and data.draw(st.booleans())
        if piece.at == piece.end or fails:
            pieces.give_back(piece)
            work.remove(piece)
    assert spans == ((0, size),)
    assert moved == size - had


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20))), st.integers(0, 60), st.integers(0, 60))
def test_gaps_are_what_no_span_covers(parts: list[tuple[int, int]], start: int, end: int) -> None:
    spans: tuple[Span, ...] = ()
    for a, length in parts:
        spans = spans_with(spans, a, a + length)
    covered = {at for a, length in parts for at in range(a, a + length)}
    found = gaps(spans, start, end)
    assert {at for a, b in found for at in range(a, b)} == set(range(start, end)) - covered
    assert all(a < b for a, b in found)


def _bounds(piece: Piece | None) -> Span:
    assert piece is not None
    return piece.at, piece.end
