"""The one loop that retries, and the only place that sleeps between attempts."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TypeVar

from phaita_loader.errors import Attempt, DeadlineExceeded, ModelDownloadError, RateLimited, Unreachable
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Listener, Wait, silent

__all__ = ["CREDIT", "SYSTEM", "Clock", "Retrying", "Transient", "check_deadline", "earns_credit"]

T = TypeVar("T")

logger = logging.getLogger("phaita_loader")

CREDIT = 1 << 20
"""The new bytes from which on an attempt does not count; see `earns_credit`."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance as arguments: `now` in seconds on any monotonic scale, `random` in [0, 1).

    wait: block until the event is set, for that many seconds at most; True if it is set.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait


SYSTEM = Clock()


class Transient(Exception):
    """A failure worth another attempt.

    final: the error to raise when no attempt is left.
    retry_after: the wait in seconds that the server asks for.
    received: bytes that the attempt added to the partial files.
    exempt_seconds: the part of the attempt that does not count against its timeout: it waited for no server, or the
        bytes that came in it earned credit.
    creditable: False where progress must not excuse the failure (a wrong digest).
    """

    def __init__(
        self,
        cause: str,
        *,
        final: type[ModelDownloadError] = Unreachable,
        retry_after: float | None = None,
        received: int = 0,
        creditable: bool = True,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.final = final
        self.retry_after = retry_after
        self.received = received
        self.creditable = creditable
        self.exempt_seconds = 0.0


def earns_credit(received: int) -> bool:
    """True if an attempt that added this many bytes to the partial files does not count against the policy."""
    return received >= CREDIT


def check_deadline(deadline: Deadline, clock: Clock, when: str = "while cached files were read") -> None:
    """Raise DeadlineExceeded if the deadline has passed; `when` ends the message."""
    if deadline.passed(clock.now()):
        raise DeadlineExceeded(f"the deadline passed {when}")


@dataclass(frozen=True, slots=True)
class Retrying:
    """A policy at work in one call of the user; `subject` begins each log line."""

    policy: Policy = field(default_factory=Policy)
    deadline: Deadline = field(default_factory=Deadline)
    clock: Clock = SYSTEM
    listen: Listener = silent
    subject: str = ""

    def call(self, step: str, attempt: Callable[[Deadline], T]) -> tuple[T, tuple[Attempt, ...]]:
        """Call `attempt(until)` until it returns, as often as the policy allows.

        Returns its result and the attempts that failed before it. An attempt that earned credit starts the count and
        the backoff anew. Raises the `final` error of the last `Transient`, RateLimited when the server's wait does not
        fit, DeadlineExceeded; every other exception passes through at once.
        """
        failed: list[Attempt] = []
        while True:
            begin = self.clock.now()
            try:
                # The deadline is the call's, the timeout this attempt's: whichever comes first ends it.
                return attempt(self.deadline.earlier(Deadline.after(self.policy.timeout, begin))), tuple(failed)
            except Transient as error:
                failure = error
            now = self.clock.now()
            failed.append(_to_attempt(step, failure, len(failed) + 1, now - begin))
            number = _count_used(failed)
            wait = _choose_wait(self.policy, failure, number if failed[-1].counted else 0, self.clock.random)
            # An attempt that earned credit spent its time on bytes, not on the wait that some other file was given.
            spent = now - begin - failure.exempt_seconds if failed[-1].counted else 0.0
            left = min(self.policy.timeout - spent, self.deadline.remaining(now))
            end = _final_error(self.policy, failure, number, wait, left, self.deadline.remaining(now))
            message = f"{self.subject}{_describe(failed[-1], number, self.policy)}"
            if end is not None:
                logger.warning("%s; giving up", message)
                raise end.filled(attempts=tuple(failed)) from failure
            # The history travels on the final error, so each attempt records its own wait.
            failed[-1] = replace(failed[-1], wait=wait)
            logger.warning("%s; next %s", message, f"in {wait:g} s" if wait else "at once")
            self.listen(Wait(failure.cause, wait, now + wait))
            self.clock.sleep(wait)


def _to_attempt(step: str, failure: Transient, number: int, elapsed: float) -> Attempt:
    counted = not (failure.creditable and earns_credit(failure.received))
    return Attempt(step, number, failure.cause, elapsed, failure.received, counted, spoiled=not failure.creditable)


def _count_used(failed: list[Attempt]) -> int:
    """Return the number of attempts used up: all wrong digests, and other failures since the last one with credit."""
    # A server that sends wrong bytes would otherwise earn credit for ever by sending many of them.
    spoiled = sum(attempt.spoiled for attempt in failed)
    others = [attempt for attempt in failed if not attempt.spoiled]
    since = takewhile(lambda attempt: attempt.counted, reversed(others))
    return spoiled + sum(1 for _ in since)


def _choose_wait(policy: Policy, failure: Transient, failures: int, random: Callable[[], float]) -> float:
    # The server knows better than the backoff when it will answer.
    if failure.retry_after is not None:
        return failure.retry_after
    return policy.backoff.delay(failures, random()) if failures else 0.0


def _final_error(
    policy: Policy, failure: Transient, number: int, wait: float, left: float, left_of_call: float
) -> ModelDownloadError | None:
    """Return the error that ends the step now, or None where another attempt is due.

    `left` is the attempt's own time in seconds, `left_of_call` that of the whole call.
    """
    # The deadline is checked first: a caller who set one is to see DeadlineExceeded, whatever else failed.
    if left_of_call <= 0.0:
        return DeadlineExceeded(f"the deadline passed; last: {failure.cause}")
    if number >= policy.attempts:
        end = failure.final(failure.cause)
        return end.filled(retry_after=failure.retry_after) if isinstance(end, RateLimited) else end
    # Sleeping past the attempt's own time would hide the server's answer from the caller.
    if failure.retry_after is not None and wait > left:
        return RateLimited(f"{failure.cause}, and asks to come back {_when(wait)}", retry_after=wait)
    if wait >= left_of_call:
        return DeadlineExceeded(f"the next attempt would begin after the deadline; last: {failure.cause}")
    return None


def _describe(attempt: Attempt, number: int, policy: Policy) -> str:
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
