from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from phaita_loader._transfer.ranges import Range, Ranges
from phaita_loader._transfer.segments import SPLIT_FROM, Segment, Segments

MIB = 1 << 20
SIZES = st.integers(SPLIT_FROM, 300 * MIB)


def test_a_small_file_is_one_piece() -> None:
    segments = Segments(SPLIT_FROM - 1, connections=4)
    assert _bounds(segments.claim(Ranges())) == (0, SPLIT_FROM - 1)
    assert not segments.has_work(Ranges())
    assert segments.claim(Ranges()) is None


def test_with_one_connection_every_gap_is_one_piece() -> None:
    segments = Segments(100 * MIB, connections=1)
    present = Ranges(((0, MIB), (10 * MIB, 11 * MIB)))
    first = segments.claim(present)
    assert _bounds(first) == (MIB, 10 * MIB)
    assert first is not None
    segments.release(first)
    assert _bounds(segments.claim(Ranges(((0, 11 * MIB),)))) == (11 * MIB, 100 * MIB)


def test_pieces_come_in_file_order_and_get_smaller() -> None:
    segments, bounds = Segments(1000 * MIB, connections=4), []
    present = Ranges()
    while (segment := segments.claim(present)) is not None:
        bounds.append(_bounds(segment))
        present = present.add(segment.at, segment.end)
        segments.release(segment)
    lengths = [end - start for start, end in bounds]
    assert [start for start, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], min(lengths[:-1])) == (16 * MIB, MIB)


def test_a_slow_connection_gives_half_of_its_rest_away() -> None:
    segments = Segments(20 * MIB, connections=2)
    slow = segments.claim(Ranges())
    assert slow is not None
    end, slow.at = slow.end, MIB
    present = Ranges(((0, MIB), (end, 20 * MIB)))
    half = segments.claim(present)
    assert half is not None
    assert _bounds(slow) == (MIB, half.at)
    assert half.end == end
    assert segments.claim(present) is None, "what is left of either is not worth a connection"


def test_a_server_that_sends_everything_shares_with_nobody() -> None:
    segments = Segments(20 * MIB, connections=2)
    segment = segments.claim(Ranges())
    assert segment is not None
    segments.claim_whole_file(segment)
    assert _bounds(segment) == (0, 20 * MIB)
    assert not segments.has_work(Ranges())


@settings(max_examples=30)  # each is some hundred steps
@given(SIZES, st.lists(st.tuples(st.integers(0, 300 * MIB), st.integers(1, 20 * MIB)), max_size=6), st.data())
def test_every_byte_is_brought_once_whatever_the_connections_do(
    size: int, there: list[tuple[int, int]], data: st.DataObject
) -> None:
    segments, work = Segments(size, connections=4), list[Segment]()
    present = Ranges()
    for start, length in there:
        if start < size:
            present = present.add(start, min(size, start + length))
    moved, had = 0, present.size
    for _ in range(10_000):
        if len(work) < 4 and (segment := segments.claim(present)) is not None:
            work.append(segment)
            continue
        if not work:
            break
        segment = data.draw(st.sampled_from(work)) if len(work) > 1 and moved < 64 * MIB else work[0]
        step = min(segment.end - segment.at, data.draw(st.sampled_from([MIB, 16 * MIB])) if moved < 64 * MIB else size)
        present = present.add(segment.at, segment.at + step)
        segment.at += step
        moved += step
        fails = moved < 64 * MIB and data.draw(st.booleans())
        if segment.at == segment.end or fails:
            segments.release(segment)
            work.remove(segment)
    assert present.spans == ((0, size),)
    assert moved == size - had


def _bounds(segment: Segment | None) -> Range:
    assert segment is not None
    return segment.at, segment.end
