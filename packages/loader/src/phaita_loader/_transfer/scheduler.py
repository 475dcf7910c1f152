"""The scheduler: several blobs at a time, watched from the calling thread, in one attempt at a commit's files.

It starts files and extra workers, ends those that no socket timeout can end (a stuck name lookup, dripped headers),
and keeps the attempt's time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phaita_loader._transfer.blob import BlobDownload, Stage
from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.segments import SPLIT_FROM
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Deadline, answer_limit
from phaita_loader.retry import Transient, earns_credit

__all__ = ["Result", "download_all"]

_PARTING = 0.5  # seconds that the end of an attempt waits for its files
_TICK = 0.1  # seconds between two looks at the clock

Job = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one attempt: the files that are still missing, and the failure that ended it, if one did.

    A failure is a Transient (with the bytes that came all the same), or at once NotFound, AccessDenied, StorageError.
    """

    missing: tuple[RemoteFile, ...]
    failure: Exception | None = None


def download_all(files: Sequence[RemoteFile], context: TransferContext, until: Deadline, deadline: Deadline) -> Result:
    """Download these blobs into the cache, until the attempt's end (`until`) or the call's (`deadline`).

    Time spent waiting for other processes that hold the locks, or for digests, does not count against the attempt, and
    an attempt that earned credit goes on. When a file fails, those under way go on, and no other is started.
    """
    scheduler = _Scheduler(files, context)
    try:
        failure = scheduler.run(until, deadline)
    finally:
        # In a thread, which a second Ctrl-C does not reach: else files would go on arriving with nobody to end them.
        ender = threading.Thread(target=scheduler.cancel, daemon=True)
        ender.start()
        ender.join(2 * _PARTING)
    if isinstance(failure, Transient):
        failure.received = max(0, scheduler.received - scheduler.credited_bytes)
        failure.exempt_seconds = scheduler.exempt_seconds
    return Result(tuple(file for file in files if file.digest not in scheduler.done), failure)


class _Scheduler:
    """One attempt at several files.

    done: digests of the blobs that are in the cache.
    received: bytes of the files that ended.
    credited_bytes: those of them that earned the attempt more time.
    exempt_seconds: the attempt's time that does not count.
    """

    def __init__(self, files: Sequence[RemoteFile], context: TransferContext) -> None:
        self.done: set[str] = set()
        self.received = 0
        self.credited_bytes = 0
        self.exempt_seconds = 0.0
        self._context = context
        self._mutex = threading.Lock()
        self._waiting = deque(files)
        self._running: list[BlobDownload] = []
        self._failures: list[Exception] = []
        self._probing = True
        self._cancelled = False
        self._changed = threading.Event()

    def run(self, until: Deadline, deadline: Deadline) -> Exception | None:
        """Return None once all files are there, or the failure that ends the attempt."""
        clock = self._context.clock
        begin = before = now = clock.now()
        while True:
            # Cleared before the look: a change during it wakes the next wait at once.
            self._changed.clear()
            self._cancel_stuck(now)
            with self._mutex:
                self._collect_ended()
                running, failure = list(self._running), max(self._failures, key=_gravity, default=None)
                idle = not running and (failure is not None or not self._waiting)
            if idle or (failure is not None and not isinstance(failure, Transient)):
                return failure
            if failure is not None and running and all(blob.stage is Stage.LOCKED_OUT for blob in running):
                return failure  # the retry need not wait for other processes
            if running and all(blob.needs_no_server for blob in running):
                self.exempt_seconds += now - before
                until = Deadline(until.at + now - before)
            if until.passed(now) and not deadline.passed(now) and failure is None and self._spend_credit():
                until, self.exempt_seconds = Deadline.after(self._context.policy.timeout, now), now - begin
            if until.earlier(deadline).passed(now):
                return failure or Transient("not done in time")
            self._start_threads()
            clock.wait(self._changed, _TICK)
            before, now = now, clock.now()

    def cancel(self) -> None:
        """End the files that still run; the bytes that they brought count."""
        with self._mutex:
            self._collect_ended()
            self._cancelled = True
            running, self._running = self._running, []
        # In threads: a disk that does not answer must not keep the caller, and the next call finds what it has.
        enders = [threading.Thread(target=blob.cancel, args=("given up",), daemon=True) for blob in running]
        for ender in enders:
            ender.start()
        last = time.monotonic() + _PARTING
        for ender in enders:
            ender.join(max(0.0, last - time.monotonic()))
        self.received += sum(blob.received for blob in running)

    def _spend_credit(self) -> bool:
        """Go on as another attempt over new connections, if enough bytes came for it; return True then."""
        with self._mutex:
            self._collect_ended()
            total = self.received + sum(blob.received for blob in self._running)
            if not earns_credit(total - self.credited_bytes):
                return False
            running = list(self._running)
        self.credited_bytes = total
        for blob in running:
            blob.reconnect()
        return True

    def _start_threads(self) -> None:
        while (job := self._next_job()) is not None:
            threading.Thread(target=self._run_jobs, args=(job,), daemon=True, name="phaita-transfer").start()

    def _run_jobs(self, job: Job | None) -> None:
        """Run one file or extra worker after the other, as long as there is room for it."""
        while job is not None:
            job()
            job = self._next_job()
        self._changed.set()

    def _next_job(self) -> Job | None:
        with self._mutex:
            self._collect_ended()
            if self._cancelled or self._failures or not self._has_room():
                return None
            # Until the first answer, one request: a repo that may not be read is not asked for all its files.
            self._probing = self._probing and not any(_has_answer(blob) for blob in self._running)
            if self._waiting and not (self._probing and self._running):
                file = self._waiting.popleft()
                # Between two small files the scheduler need not look: there may be thousands.
                wake = self._changed.set if file.size >= SPLIT_FROM or self._probing else _do_nothing
                blob = BlobDownload(file, self._context, wake)
                self._running.append(blob)
                return blob.run
            return next((job for blob in self._running if (job := blob.spawn_extra()) is not None), None)

    def _has_room(self) -> bool:
        return sum(blob.connections for blob in self._running) < self._context.policy.connections

    def _collect_ended(self) -> None:
        ended = [blob for blob in self._running if blob.ended]
        if ended:
            self._running = [blob for blob in self._running if not blob.ended]
            self._probing = False
        self.received += sum(blob.received for blob in ended)
        self.done |= {blob.file.digest for blob in ended if blob.error is None}
        self._failures += [blob.error for blob in ended if blob.error is not None]

    def _cancel_stuck(self, now: float) -> None:
        for blob in list(self._running):
            blob.cancel_stuck(now, answer_limit(self._context.policy.connect))


def _has_answer(blob: BlobDownload) -> bool:
    return blob.answered or blob.stage is Stage.LOCKED_OUT


def _do_nothing() -> None:
    """Does nothing."""


def _gravity(failure: Exception) -> tuple[bool, bool, float]:
    """Return a sort key: a permanent failure is gravest, then a wrong digest, then the longest wait."""
    if not isinstance(failure, Transient):
        return True, True, 0.0
    return False, not failure.creditable, failure.retry_after or 0.0
