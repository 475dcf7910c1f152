"""The one loop that retries, and the only place that sleeps between attempts."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TypeVar

from phaita_loader.errors import Attempt, DeadlineExceeded, ModelDownloadError, RateLimited, Unreachable
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Listener, Wait, silent

__all__ = ["CREDIT", "SYSTEM", "Clock", "Patience", "Transient"]

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
    bytes the attempt added; `excused` the seconds of it in which it waited for no server, or which those bytes earned;
    `earns` is False where progress must not excuse the failure (a wrong digest).
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
        self.excused = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How patiently one call is made, to its end; `subject` begins what is logged."""

    policy: Policy
    deadline: Deadline = field(default_factory=Deadline)
    clock: Clock = SYSTEM
    listen: Listener = silent
    subject: str = ""

    def persist(self, step: str, attempt: Callable[[Deadline], T]) -> tuple[T, tuple[Attempt, ...]]:
        """Call `attempt(until)` until it returns, as patiently as the policy says.

        Returns its result and the attempts that failed before it. An attempt that added `CREDIT` bytes starts the
        count and the backoff anew. Raises the `final` error of the last `Transient`, RateLimited when the server's
        wait does not fit, DeadlineExceeded; every other exception passes through at once.
        """
        failed: list[Attempt] = []
        while True:
            begin = self.clock.now()
            try:
                return attempt(self.deadline.earlier(Deadline.after(self.policy.timeout, begin))), tuple(failed)
            except Transient as error:
                failure = error
            now = self.clock.now()
            failed.append(_recorded(step, failure, len(failed) + 1, now - begin))
            number = _counted(failed)
            wait = _wait(self.policy, failure, number if failed[-1].counted else 0, self.clock.random)
            # Where bytes came, they took the attempt's time, and not the wait that some other file was told.
            spent = now - begin - failure.excused if failed[-1].counted else 0.0
            left = min(self.policy.timeout - spent, self.deadline.remaining(now))
            end = _end(self.policy, failure, number, wait, left, self.deadline.remaining(now))
            told = f"{self.subject}{_told(failed[-1], number, self.policy)}"
            if end is not None:
                logger.warning("%s; giving up", told)
                raise end.filled(attempts=tuple(failed)) from failure
            failed[-1] = replace(failed[-1], wait=wait)
            logger.warning("%s; next %s", told, f"in {wait:g} s" if wait else "at once")
            self.listen(Wait(failure.cause, wait, now + wait))
            self.clock.sleep(wait)


def _recorded(step: str, failure: Transient, number: int, elapsed: float) -> Attempt:
    counted = not failure.earns or failure.received < CREDIT
    return Attempt(step, number, failure.cause, elapsed, failure.received, counted, spoiled=not failure.earns)


def _counted(failed: list[Attempt]) -> int:
    """How many attempts are used up: all wrong digests, and the other failures since the last one with progress."""
    spoiled = sum(attempt.spoiled for attempt in failed)
    others = [attempt for attempt in failed if not attempt.spoiled]
    since = takewhile(lambda attempt: attempt.counted, reversed(others))
    return spoiled + sum(1 for _ in since)


def _wait(policy: Policy, failure: Transient, failures: int, random: Callable[[], float]) -> float:
    if failure.retry_after is not None:
        return failure.retry_after
    return policy.backoff.delay(failures, random()) if failures else 0.0


def _end(
    policy: Policy, failure: Transient, number: int, wait: float, left: float, left_of_call: float
) -> ModelDownloadError | None:
    """The error that ends the step now, or None where another attempt is due; `left` is the attempt's own time."""
    if left_of_call <= 0.0:
        return DeadlineExceeded(f"the deadline came; last: {failure.cause}")
    if number >= policy.attempts:
        end = failure.final(failure.cause)
        return end.filled(retry_after=failure.retry_after) if isinstance(end, RateLimited) else end
    if failure.retry_after is not None and wait > left:
        return RateLimited(f"{failure.cause}, and asks to come back {_when(wait)}", retry_after=wait)
    if wait >= left_of_call:
        return DeadlineExceeded(f"the next attempt would begin after the deadline; last: {failure.cause}")
    return None


def _told(attempt: Attempt, number: int, policy: Policy) -> str:
    if attempt.counted:
        return f"{attempt.step}: attempt {number} of {policy.attempts} failed: {attempt.cause}"
    progress = f"{attempt.received / 1e6:.1f} MB in {attempt.elapsed:.0f} s"
    return f"{attempt.step}: broke off after {progress}: {attempt.cause}"


def _when(seconds: float) -> str:
    try:
        at = f" (at {datetime.now(UTC) + timedelta(seconds=seconds):%H:%M:%S} UTC)"
    except OverflowError:  # a server may name a time that no calendar holds
        at = ""
    return f"in {seconds:.0f} s{at}"
