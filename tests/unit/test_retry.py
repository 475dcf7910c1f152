from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from phaita_loader.errors import (
    AccessDenied,
    Corrupt,
    DeadlineExceeded,
    ModelDownloadError,
    NotFound,
    RateLimited,
    StorageError,
    Unreachable,
)
from phaita_loader.policy import Backoff, Deadline, Policy
from phaita_loader.progress import Wait
from phaita_loader.retry import CREDIT, Retrying, Transient
from tests.unit.fakes import FakeClock

RESET = Transient("reset")
WRONG = Transient("wrong digest", final=Corrupt, creditable=False)


def progress() -> Transient:
    return Transient("reset", received=CREDIT)


def fails(clock: FakeClock, *failures: Exception | None, seconds: float = 1.0) -> Callable[[Deadline], str]:
    """Return an attempt that takes `seconds` and raises these in turn; None, or their end, is success."""
    script: Iterator[Exception | None] = iter(failures)

    def attempt(until: Deadline) -> str:
        clock.at += seconds
        failure = next(script, None)
        if failure is not None:
            raise failure
        return "here"

    return attempt


def run(clock: FakeClock, attempt: Callable[[Deadline], str], **numbers: Any) -> list[float]:
    """Return the waits between the attempts."""
    deadline = Deadline.after(numbers.pop("deadline", None), clock.at)
    policy = Policy(**numbers)
    result, _ = Retrying(policy, deadline, clock.clock).call("transfer", attempt)
    assert result == "here"
    return clock.slept


WAITS = [
    ([], 3, []),
    ([RESET], 3, [10.0]),
    ([RESET] * 3, 4, [10.0, 20.0, 40.0]),
    # An attempt that brought 1 MiB is excused, and the next begins at once, as the first.
    ([RESET, RESET, progress(), RESET, RESET], 3, [10.0, 20.0, 0.0, 10.0, 20.0]),
    ([progress()] * 50, 1, [0.0] * 50),
    # A byte less is not enough.
    ([Transient("drip", received=CREDIT - 1)] * 2, 3, [10.0, 20.0]),
    # Wrong bytes count, whatever came between: here the second of them is the second failure.
    ([WRONG, progress(), WRONG], 3, [10.0, 0.0, 20.0]),
    ([Transient("wrong", creditable=False, received=9 * CREDIT)], 2, [10.0]),
    # The server's own wait stands in for the backoff, also after progress, also when it is none.
    ([Transient("503", retry_after=7.0)] * 2, 3, [7.0, 7.0]),
    ([Transient("503", retry_after=0.0)], 3, [0.0]),
    ([Transient("503", retry_after=7.0, received=CREDIT)], 1, [7.0]),
]


@pytest.mark.parametrize(("failures", "attempts", "waits"), WAITS)
def test_waits(clock: FakeClock, failures: list[Exception], attempts: int, waits: list[float]) -> None:
    assert run(clock, fails(clock, *failures), attempts=attempts) == waits


ENDS = [
    # As many failures in a row as there are attempts.
    ([RESET] * 3, Unreachable, [10.0, 20.0]),
    ([Transient("gone", final=StorageError)] * 3, StorageError, [10.0, 20.0]),
    ([RESET, RESET, progress(), RESET, RESET, RESET], Unreachable, [10.0, 20.0, 0.0, 10.0, 20.0]),
    # Three wrong digests end it even where every attempt between them earned another.
    ([WRONG, progress(), WRONG, progress(), WRONG], Corrupt, [10.0, 0.0, 20.0, 0.0]),
    # An answer, and not a failure: nobody waits.
    ([NotFound("no")], NotFound, []),
    ([AccessDenied("no")], AccessDenied, []),
    ([StorageError("full")], StorageError, []),
    ([KeyError("a bug")], KeyError, []),
    ([RESET, NotFound("no")], NotFound, [10.0]),
]


@pytest.mark.parametrize(("failures", "error", "waits"), ENDS)
def test_ends(clock: FakeClock, failures: list[Exception], error: type[Exception], waits: list[float]) -> None:
    with pytest.raises(error):
        run(clock, fails(clock, *failures))
    assert clock.slept == waits


@pytest.mark.parametrize(
    ("numbers", "seconds"),
    [
        ({"timeout": 60.0}, 61.0),
        # What the attempt took is gone from its timeout.
        ({"timeout": 60.0}, 59.5),
        ({"deadline": 40.0}, 50.0),
        # Far beyond what a calendar holds.
        ({}, 1e14),
        ({}, float("inf")),
    ],
)
def test_a_wait_that_does_not_fit_fails_at_once(clock: FakeClock, numbers: dict[str, float], seconds: float) -> None:
    with pytest.raises(RateLimited, match="come back in") as caught:
        run(clock, fails(clock, Transient("429", final=RateLimited, retry_after=seconds)), **numbers)
    assert (clock.slept, caught.value.retry_after) == ([], seconds)


def test_progress_gives_the_servers_wait_a_whole_timeout(clock: FakeClock) -> None:
    # The attempt's own time was used up by the bytes it brought, not by the wait that a small file was told.
    failure = Transient("503", retry_after=5.0, received=CREDIT)
    assert run(clock, fails(clock, failure, seconds=300.0), timeout=300.0) == [5.0]


def test_the_last_429_still_says_when_to_come_back(clock: FakeClock) -> None:
    with pytest.raises(RateLimited) as caught:
        run(clock, fails(clock, Transient("429", final=RateLimited, retry_after=5.0)), attempts=1)
    assert caught.value.retry_after == 5.0


@pytest.mark.parametrize(
    ("deadline", "waits", "elapsed"),
    [
        # It came while the attempt ran.
        (0.5, [], 1.0),
        # It would come during the wait: nobody waits for nothing.
        (8.0, [], 1.0),
        (15.0, [10.0], 12.0),
    ],
)
def test_deadline(clock: FakeClock, deadline: float, waits: list[float], elapsed: float) -> None:
    begin = clock.at
    with pytest.raises(DeadlineExceeded, match="reset"):
        run(clock, fails(clock, *[RESET] * 9), deadline=deadline, attempts=9)
    assert (clock.slept, clock.at - begin) == (waits, elapsed)


def test_an_attempt_is_told_its_end(clock: FakeClock) -> None:
    ends: list[float] = []

    def attempt(until: Deadline) -> str:
        ends.append(until.at)
        raise RESET

    with pytest.raises(DeadlineExceeded):
        Retrying(Policy(timeout=8.0, attempts=9), Deadline(1015.0), clock.clock).call("listing", attempt)
    assert ends == [1008.0, 1015.0]


def test_a_cap_and_jitter_reach_the_sleep(clock: FakeClock) -> None:
    clock.chance = 0.0
    policy = Policy(attempts=4, backoff=Backoff(cap=20.0, jitter=0.5))
    Retrying(policy, clock=clock.clock).call("x", fails(clock, *[RESET] * 3))
    assert clock.slept == [5.0, 10.0, 10.0]


def test_a_thousand_attempts_take_no_stack(clock: FakeClock) -> None:
    assert len(run(clock, fails(clock, *[progress() for _ in range(2000)]))) == 2000


def test_one_warning_a_failed_attempt(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    events: list[object] = []
    attempt = fails(clock, RESET, Transient("cut", received=2_000_000), RESET, RESET, RESET)
    with pytest.raises(Unreachable):
        Retrying(Policy(), Deadline(), clock.clock, events.append, "org/name: ").call("transfer", attempt)
    assert {(record.name, record.levelno) for record in caplog.records} == {("phaita_loader", logging.WARNING)}
    assert [record.getMessage() for record in caplog.records] == [
        "org/name: transfer: attempt 1 of 3 failed: reset; next in 10 s",
        "org/name: transfer: broke off after 2.0 MB in 1 s: cut; next at once",
        "org/name: transfer: attempt 1 of 3 failed: reset; next in 10 s",
        "org/name: transfer: attempt 2 of 3 failed: reset; next in 20 s",
        "org/name: transfer: attempt 3 of 3 failed: reset; giving up",
    ]
    waits = [(event.reason, event.seconds) for event in events if isinstance(event, Wait)]
    assert waits == [("reset", 10.0), ("cut", 0.0), ("reset", 10.0), ("reset", 20.0)]
    assert [event.until for event in events if isinstance(event, Wait)] == [1011.0, 1012.0, 1023.0, 1044.0]


def test_a_permanent_error_is_no_warning(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotFound):
        run(clock, fails(clock, NotFound("no")))
    assert not caplog.records


def test_the_history_travels_on_the_error(clock: FakeClock) -> None:
    with pytest.raises(ModelDownloadError) as caught:
        run(clock, fails(clock, WRONG, progress(), RESET, seconds=2.5), attempts=2)
    rows = [(a.step, a.number, a.counted, a.spoiled, a.elapsed, a.wait) for a in caught.value.attempts]
    assert rows == [
        ("transfer", 1, True, True, 2.5, 10.0),
        ("transfer", 2, False, False, 2.5, 0.0),
        ("transfer", 3, True, False, 2.5, 0.0),
    ]
    assert isinstance(caught.value.__cause__, Transient)


def test_the_history_travels_on_the_result(clock: FakeClock) -> None:
    _, attempts = Retrying(Policy(), clock=clock.clock).call("x", fails(clock, RESET))
    assert [(attempt.cause, attempt.wait) for attempt in attempts] == [("reset", 10.0)]


def test_what_an_attempt_is_excused_for_does_not_shorten_the_wait_it_has_left(clock: FakeClock) -> None:
    """It waited for another process for longer than the timeout, and then met a server that asks for two seconds."""
    answers = iter([Transient("503", retry_after=2.0), None])

    def attempt(until: Deadline) -> str:
        failure = next(answers)
        if failure is None:
            return "here"
        clock.at += 400.0
        failure.exempt_seconds = 390.0
        raise failure

    assert run(clock, attempt, timeout=300.0) == [2.0]
