"""The processes of one case, from their imports to the last result: one, several at once, one that is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tests.faults.process import Process
from tests.faults.scenario import Scenario

_IMPORT_SECONDS = 180.0
_TICK_SECONDS = 0.02


class TooLateError(AssertionError):
    """The process that was to be killed had ended before: the scenario does not show what it says."""


class Runner:
    """Runs a scenario's processes, which `start(number)` makes.

    ticks: called every 20 ms with the seconds since the first call. sent: bytes of files that the Hub has sent.
    """

    def __init__(
        self,
        scenario: Scenario,
        start: Callable[[int], Process],
        ticks: Sequence[Callable[[float], None]] = (),
        sent: Callable[[], int] = lambda: 0,
    ) -> None:
        self._scenario = scenario
        self._start = start
        self._ticks = ticks
        self._sent = sent
        self._begin = 0.0

    def run(self) -> dict[str, Any]:
        """The result of all that were not killed on purpose, as one."""
        with ExitStack() as stack:
            processes = [stack.enter_context(self._start(number)) for number in range(self._scenario.processes)]
            self._import(processes)
            self._begin = time.monotonic()
            if self._scenario.kill_at is not None:
                processes = self._without_first(processes, self._scenario.kill_at, stack)
            else:
                for process in processes:
                    process.go()
            late = self._wait(lambda: all(process.ended for process in processes))
            return merged([one.result(self._scenario.cap if late and not one.ended else None) for one in processes])

    def _without_first(self, processes: list[Process], kill_at: int, stack: ExitStack) -> list[Process]:
        """Let the first one download and kill it; the others, or the same call once more, go on."""
        first, others = processes[0], processes[1:]
        first.go()
        self._wait(lambda: first.ended or self._sent() >= kill_at // 2)
        for process in others:
            process.go()
        late = self._wait(lambda: first.ended or self._sent() >= kill_at)
        if late or first.ended:
            if first.result()["outcome"] == "loaded":
                raise TooLateError(f"{self._scenario.name}: loaded before {kill_at} bytes had been sent")
            return processes
        first.kill()
        if not others:
            others = [stack.enter_context(self._start(1))]
            self._import(others)
            self._begin = time.monotonic()
            others[0].go()
        return others

    def _import(self, processes: Sequence[Process]) -> None:
        until = time.monotonic() + _IMPORT_SECONDS
        while not all(process.ready or process.ended for process in processes) and time.monotonic() < until:
            time.sleep(_TICK_SECONDS)

    def _wait(self, done: Callable[[], bool]) -> bool:
        """Wait for the condition. True if the cap came first."""
        while not done():
            elapsed = time.monotonic() - self._begin
            if elapsed > self._scenario.cap:
                return True
            for tick in self._ticks:
                tick(elapsed)
            time.sleep(_TICK_SECONDS)
        return False


def merged(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One result for all: the first that did not load speaks, the slowest gives the seconds, attempts are added."""
    worst = dict(next((one for one in results if one["outcome"] != "loaded"), results[0]))
    if len(results) > 1 and worst["outcome"] != "loaded":
        worst["message"] = f"1 of {len(results)}: {worst['message']}"
    attempts = [one["attempts"] for one in results]
    worst["attempts"] = None if None in attempts else sum(attempts)
    worst["seconds"] = max(one["seconds"] for one in results)
    worst["output"] = "".join(one["output"] for one in results)
    return worst
