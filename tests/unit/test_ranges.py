from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from phaita_loader._transfer.ranges import Ranges

SPAN = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(SPAN, max_size=12))
def test_ranges_are_a_set_of_bytes(added: list[tuple[int, int]]) -> None:
    ranges = Ranges()
    model: set[int] = set()
    for start, end in added:
        ranges = ranges.add(start, end)
        model |= set(range(start, end))
    assert {byte for start, end in ranges.spans for byte in range(start, end)} == model
    # Sorted, and apart: two that touch are one.
    assert all(one[1] < other[0] for one, other in pairwise(ranges.spans))
    assert ranges.size == len(model)
    assert ranges.prefix == next(byte for byte in range(100) if byte not in model)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20))), st.integers(0, 60), st.integers(0, 60))
def test_gaps_are_what_no_span_covers(parts: list[tuple[int, int]], start: int, end: int) -> None:
    present = Ranges()
    for a, length in parts:
        present = present.add(a, a + length)
    covered = {at for a, length in parts for at in range(a, a + length)}
    found = present.missing(start, end)
    assert {at for a, b in found for at in range(a, b)} == set(range(start, end)) - covered
    assert all(a < b for a, b in found)
