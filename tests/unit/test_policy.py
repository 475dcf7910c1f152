from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita_loader.policy import Backoff, Deadline, Policy

WAITS = [
    # PHAITA's promise: ten seconds, doubled after each failure.
    (Backoff(), [10.0, 20.0, 40.0, 80.0]),
    (Backoff(first=1.0, factor=3.0), [1.0, 3.0, 9.0, 27.0]),
    # A factor of 1 waits the same time always.
    (Backoff(first=2.0, factor=1.0), [2.0, 2.0, 2.0, 2.0]),
    (Backoff(cap=30.0), [10.0, 20.0, 30.0, 30.0]),
    (Backoff(first=0.0), [0.0, 0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("backoff", "waits"), WAITS)
def test_backoff(backoff: Backoff, waits: list[float]) -> None:
    assert [backoff.delay(failures) for failures in (1, 2, 3, 4)] == waits


@pytest.mark.parametrize(("random", "wait"), [(0.0, 7.5), (0.5, 10.0), (0.999999, 12.5)])
def test_jitter_spreads_evenly_around_the_wait(random: float, wait: float) -> None:
    assert Backoff(jitter=0.25).delay(1, random) == pytest.approx(wait, rel=1e-4)


@given(
    first=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    cap=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    failures=st.integers(1, 100_000),
    random=st.floats(0, 1, exclude_max=True),
)
def test_a_capped_wait_is_a_wait_however_often_it_failed(
    first: float, factor: float, cap: float, jitter: float, failures: int, random: float
) -> None:
    wait = Backoff(first, factor, cap, jitter).delay(failures, random)
    assert 0.0 <= wait <= cap * (1 + jitter)


def test_whole_numbers_do_not_grow_without_end() -> None:
    assert Backoff(first=1, factor=2, cap=60).delay(100_000) == 60
    assert Backoff(first=1, factor=2).delay(100_000) > 1e300


BAD_BACKOFFS = [
    {"first": -1.0},
    {"first": math.nan},
    {"first": math.inf},
    {"first": "10"},
    {"first": True},
    {"factor": 0.5},
    {"factor": math.nan},
    {"factor": "2"},
    {"cap": -1.0},
    {"cap": math.nan},
    {"jitter": -0.1},
    {"jitter": 1.1},
    {"jitter": math.nan},
    {"jitter": None},
]


@pytest.mark.parametrize("numbers", BAD_BACKOFFS, ids=str)
def test_a_backoff_of_senseless_numbers(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(numbers))):
        Backoff(**numbers)


BAD_POLICIES = [
    {"attempts": 0},
    {"attempts": -1},
    {"attempts": 2.0},
    # True is an int to Python, and no number of attempts anyone means.
    {"attempts": True},
    {"timeout": -1.0},
    {"timeout": 0.0},
    {"timeout": math.nan},
    {"timeout": math.inf},
    {"timeout": True},
    {"timeout": "300"},
    {"timeout": None},
    {"stall": 0.0},
    {"connect": -0.1},
    {"deadline": 0.0},
    {"deadline": -5.0},
    {"deadline": math.nan},
]


@pytest.mark.parametrize("numbers", BAD_POLICIES, ids=str)
def test_a_policy_of_senseless_numbers(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(numbers))):
        Policy(**numbers)


def test_the_error_names_the_parameter_that_compat_users_gave() -> None:
    with pytest.raises(ValueError, match="max_retries"):
        Policy(attempts=0)


def test_defaults_are_those_that_are_documented() -> None:
    policy = Policy()
    assert (policy.attempts, policy.timeout, policy.stall, policy.connect, policy.deadline) == (3, 300, 30, 10, None)
    assert policy.backoff == Backoff(first=10.0, factor=2.0, cap=None, jitter=0.0)


def test_deadline_is_an_instant() -> None:
    never, soon = Deadline.after(None, now=5.0), Deadline.after(2.0, now=5.0)
    assert (never.at, soon.at) == (math.inf, 7.0)
    assert [soon.remaining(now) for now in (5.0, 7.0, 9.0)] == [2.0, 0.0, 0.0]
    assert [soon.passed(now) for now in (6.99, 7.0)] == [False, True]
    assert never.earlier(soon) == soon.earlier(never) == soon
