"""pytest-benchmark's table, files and comparison for seconds that were measured elsewhere.

It times calls in its own process, one contender after the other; these were taken in fresh processes, and in turn.
So it is given a clock that shows them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_benchmark.fixture import BenchmarkFixture


class Clock:
    """Stands still but for `tick`, which moves it on by the next of the seconds."""

    def __init__(self) -> None:
        self._now = 0.0
        self._left: list[float] = []

    def __call__(self) -> float:
        """Seconds."""
        return self._now

    def tick(self) -> None:
        """One of the calls happens once more."""
        self._now += self._left.pop(0)

    def replay(self, benchmark: BenchmarkFixture, seconds: Sequence[float]) -> None:
        """Let the fixture see one round for each; its test is marked with this clock as `timer`."""
        self._left = list(seconds)
        benchmark.pedantic(self.tick, rounds=len(seconds))


CLOCK = Clock()
