"""Fake processes of contenders: the order of starts and kills, and the merged result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.runner import Runner, TooLateError, merged
from tests.faults.scenario import Scenario
from tests.faults.schema import Expect


class FakeProcess:
    """A process that loads after so many looks at it, or never."""

    ready = True

    def __init__(self, looks: int = 1) -> None:
        self.left = looks
        self.story: list[str] = []

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.story.append("end")

    @property
    def ended(self) -> bool:
        if "go" in self.story:
            self.left -= 1
        return "kill" in self.story or self.left < 0

    def go(self) -> None:
        self.story.append("go")

    def kill(self) -> None:
        self.story.append("kill")

    def result(self, killed_at: float | None = None) -> dict[str, Any]:
        outcome = "loaded" if self.left < 0 else "hung" if killed_at else "crashed"
        return {"outcome": outcome, "message": "", "attempts": 1, "seconds": killed_at or 1.0, "output": "o"}


NEVER = 1_000_000_000


def run(started: list[FakeProcess], sent: Callable[[], int] = lambda: 0, **words: Any) -> dict[str, Any]:
    scenario = Scenario("case", "t", Expect("loaded"), **words)
    return Runner(scenario, lambda number: started[number], (), sent).run()  # type: ignore[arg-type, return-value]  # fake processes


def rising(*values: int) -> Callable[[], int]:
    """Each value once, then the last one for good."""
    left = list(values)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_one_process() -> None:
    started = [FakeProcess()]
    assert run(started)["outcome"] == "loaded"
    assert started[0].story == ["go", "end"]


def test_several_at_once_give_one_result() -> None:
    started = [FakeProcess(), FakeProcess(3), FakeProcess()]
    result = run(started, processes=3)
    assert (result["outcome"], result["attempts"], result["output"]) == ("loaded", 3, "ooo")
    assert [process.story for process in started] == [["go", "end"]] * 3


def test_a_process_that_outlives_the_cap_is_told_as_hung() -> None:
    assert run([FakeProcess(), FakeProcess(NEVER)], processes=2, cap=0.1)["outcome"] == "hung"


def test_alone_it_is_killed_and_called_again() -> None:
    started = [FakeProcess(NEVER), FakeProcess()]
    assert run(started, rising(0, 60, 120), kill_at=100)["outcome"] == "loaded"
    assert [process.story for process in started] == [["go", "kill", "end"], ["go", "end"]]


def test_the_first_of_several_is_killed_and_the_others_go_on() -> None:
    started = [FakeProcess(NEVER), FakeProcess(), FakeProcess()]
    assert run(started, rising(0, 60, 120), processes=3, kill_at=100)["attempts"] == 2
    assert [process.story for process in started] == [["go", "kill", "end"], ["go", "end"], ["go", "end"]]


def test_a_kill_that_comes_too_late_is_an_error() -> None:
    with pytest.raises(TooLateError, match="loaded before 100 bytes"):
        run([FakeProcess(), FakeProcess()], kill_at=100)


def test_a_process_that_fails_before_its_kill_is_the_result() -> None:
    class Failing(FakeProcess):
        def result(self, killed_at: float | None = None) -> dict[str, Any]:
            return {**super().result(killed_at), "outcome": "ReadError"}

    assert run([Failing(), FakeProcess()], kill_at=100)["outcome"] == "ReadError"


def test_the_worst_result_speaks_for_all() -> None:
    fine = {"outcome": "loaded", "message": "", "attempts": None, "seconds": 1.0, "output": "a"}
    bad = {"outcome": "OSError", "message": "no", "attempts": 2, "seconds": 3.0, "output": "b"}
    expected = {"outcome": "OSError", "message": "1 of 2: no", "attempts": None, "seconds": 3.0, "output": "ab"}
    assert merged([fine, bad]) == expected
    assert merged([fine]) == fine
