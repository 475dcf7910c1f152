"""The one loop that retries, and the only place that sleeps between attempts."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from phaita_loader.errors import Attempt, DeadlineExceeded, ModelDownloadError, RateLimited, Unreachable
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Listener, Wait

__all__ = ["CREDIT", "SYSTEM", "Clock", "Transient", "persist"]

T = TypeVar("T")

logger = logging.getLogger("phaita_loader")

CREDIT = 1 << 20
"""Bytes an attempt must add to the partial files so that it does not count."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance as arguments: `now` in seconds on any monotonic scale, `random` in [0, 1)."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


SYSTEM = Clock()


class Transient(Exception):
    """A failure worth another attempt.

    `final` is the error to raise when patience ends; `retry_after` the server's own wait in seconds; `received` the
    bytes the attempt added; `earns` is False where progress must not excuse the failure (a wrong digest).
    """

    def __init__(
        self,
        cause: str,
        *,
        final: type[ModelDownloadError] = Unreachable,
        retry_after: float | None = None,
        received: int = 0,
        earns: bool = True,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.final = final
        self.retry_after = retry_after
        self.received = received
        self.earns = earns


def persist(
    step: str,
    attempt: Callable[[Deadline], T],
    *,
    policy: Policy,
    deadline: Deadline,
    clock: Clock = SYSTEM,
    listen: Listener = lambda event: None,
    subject: str = "",
) -> tuple[T, tuple[Attempt, ...]]:
    """Call `attempt(until)` until it returns, as patiently as `policy` says.

    Returns its result and the attempts that failed before it. An attempt that added `CREDIT` bytes starts the count
    and the backoff anew. Raises the `final` error of the last `Transient`, RateLimited when the server's wait does
    not fit, DeadlineExceeded; every other exception passes through at once.
    """
    failed: list[Attempt] = []
    unearned = spoiled = 0  # a wrong digest stays counted when progress clears the rest
    while True:
        begin = clock.now()
        try:
            return attempt(deadline.earlier(Deadline.after(policy.timeout, begin))), tuple(failed)
        except Transient as error:
            failure = error
        counted = not failure.earns or failure.received < CREDIT
        spoiled += not failure.earns
        unearned = unearned + 1 if failure.earns and counted else 0 if failure.earns else unearned
        number = unearned + spoiled
        wait = _wait(policy, failure, number if counted else 0, clock.random)
        elapsed = clock.now() - begin
        failed.append(
            Attempt(step, len(failed) + 1, failure.cause, elapsed, received=failure.received, counted=counted, wait=wait)
        )
        end = _end(policy, failure, number, wait=wait, left=(policy.timeout - elapsed, deadline, clock.now()))
        if end is not None:
            failed[-1] = Attempt(step, len(failed), failure.cause, elapsed, failure.received, counted)
            logger.warning("%s%s; giving up", subject, _told(failed[-1], number, policy))
            raise end.filled(attempts=tuple(failed)) from failure
        logger.warning("%s%s; next in %g s", subject, _told(failed[-1], number, policy), round(wait, 1))
        listen(Wait(failure.cause, wait))
        clock.sleep(wait)


def _wait(policy: Policy, failure: Transient, failures: int, random: Callable[[], float]) -> float:
    if failure.retry_after is not None:
        return failure.retry_after
    return policy.backoff.delay(failures, random()) if failures else 0.0


def _end(
    policy: Policy, failure: Transient, number: int, *, wait: float, left: tuple[float, Deadline, float]
) -> ModelDownloadError | None:
    """The error that ends the step now, or None where another attempt is due."""
    in_attempt, deadline, now = left
    if deadline.passed(now):
        return DeadlineExceeded(f"the deadline came; last: {failure.cause}")
    if number >= policy.attempts:
        return failure.final(failure.cause)
    if failure.retry_after is not None and wait > min(in_attempt, deadline.remaining(now)):
        return RateLimited(f"{failure.cause}, and asks to come back {_when(wait)}", retry_after=wait)
    if wait >= deadline.remaining(now):
        return DeadlineExceeded(f"the next attempt would begin after the deadline; last: {failure.cause}")
    return None


def _told(attempt: Attempt, number: int, policy: Policy) -> str:
    if attempt.counted:
        return f"{attempt.step}: attempt {number} of {policy.attempts} failed: {attempt.cause}"
    return f"{attempt.step}: broke off after {attempt.received / 1e6:.1f} MB in {attempt.elapsed:.0f} s: {attempt.cause}"


def _when(seconds: float) -> str:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return f"in {seconds:.0f} s (at {at:%H:%M:%S} UTC)"
