"""Several blobs at a time, watched from the calling thread: one attempt at a commit's files.

The watcher starts files and connections, ends those that no socket timeout can end (a stuck name lookup, dripped
headers), and keeps the attempt's time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from phaita_loader._transfer.blob import BlobTransfer
from phaita_loader._transfer.context import Route
from phaita_loader._transfer.segments import SPLIT_FROM
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Deadline
from phaita_loader.retry import CREDIT, Transient

__all__ = ["bring"]

_PARTING = 0.5  # seconds that the end of an attempt waits for its files
_TICK = 0.1  # seconds between two looks at the clock

Job = Callable[[], None]


def bring(
    files: Sequence[RemoteFile], route: Route, until: Deadline, deadline: Deadline, done: set[str] | None = None
) -> None:
    """Bring all these blobs into the cache, until the attempt's or the call's end; the digests in `done` are there.

    Time spent waiting for other processes that hold the locks, or for digests, is not the attempt's, and an attempt
    that earned another one goes on as that. A file that fails lets those under way go on, and no other is started.
    Raises Transient (with the bytes that came all the same) and, at once, NotFound, AccessDenied or StorageError.
    """
    crew = _Crew(files, route, set() if done is None else done)
    try:
        failure = crew.run(until, deadline)
    finally:
        # In a thread, which a second Ctrl-C does not reach: or files would go on arriving, with nobody to end them.
        ender = threading.Thread(target=crew.abandon, daemon=True)
        ender.start()
        ender.join(2 * _PARTING)
    if isinstance(failure, Transient):
        failure.received, failure.excused = max(0, crew.received - crew.credited), crew.excused
    if failure is not None:
        raise failure


class _Crew:
    """`received` counts the bytes of the files that ended; `credited` are those that earned the attempt more time,
    and `excused` is the time, in seconds, that it is not to answer for."""

    def __init__(self, files: Sequence[RemoteFile], route: Route, done: set[str]) -> None:
        self.received = 0
        self.credited = 0
        self.excused = 0.0
        self._route = route
        self._done = done
        self._mutex = threading.Lock()
        self._waiting = deque(file for file in files if file.digest not in done)
        self._running: list[BlobTransfer] = []
        self._failures: list[Exception] = []
        self._welcome = False
        self._over = False
        self._changed = threading.Event()

    def run(self, until: Deadline, deadline: Deadline) -> Exception | None:
        """Until all is there (None), or the failure that ends the attempt."""
        begin = before = now = self._route.clock.now()
        while True:
            self._changed.clear()
            self._end_stuck(now)
            with self._mutex:
                self._collect()
                running, failure = list(self._running), max(self._failures, key=_weight, default=None)
                idle = not running and (failure is not None or not self._waiting)
            if idle or (failure is not None and not isinstance(failure, Transient)):
                return failure
            if failure is not None and running and all(blob.locked_out for blob in running):
                return failure  # waiting for others is no reason to let it wait
            if running and all(blob.resting for blob in running):
                self.excused += now - before
                until = Deadline(until.at + now - before)
            if until.passed(now) and not deadline.passed(now) and failure is None and self._earned():
                until, self.excused = Deadline.after(self._route.policy.timeout, now), now - begin
            if until.earlier(deadline).passed(now):
                return failure or Transient("not done in time")
            self._start()
            self._changed.wait(_TICK)
            before, now = now, self._route.clock.now()

    def abandon(self) -> None:
        """End what still runs; what it brought counts."""
        with self._mutex:
            self._collect()
            self._over = True
            running, self._running = self._running, []
        # A disk that does not answer must not keep the caller: what it has is found by whoever comes next.
        enders = [threading.Thread(target=blob.abandon, args=("given up",), daemon=True) for blob in running]
        for ender in enders:
            ender.start()
        last = time.monotonic() + _PARTING
        for ender in enders:
            ender.join(max(0.0, last - time.monotonic()))
        self.received += sum(blob.received for blob in running)

    def _earned(self) -> bool:
        """Whether enough came for another attempt, which goes on from here over new connections."""
        with self._mutex:
            self._collect()
            total = self.received + sum(blob.received for blob in self._running)
            earned = total - self.credited >= CREDIT
            running = list(self._running) if earned else []
        self.credited = total if earned else self.credited
        for blob in running:
            blob.renew()
        return earned

    def _start(self) -> None:
        while (job := self._next()) is not None:
            threading.Thread(target=self._work, args=(job,), daemon=True, name="phaita-transfer").start()

    def _work(self, job: Job | None) -> None:
        """One thread serves one file or connection after the other, as long as there is room for it."""
        while job is not None:
            job()
            job = self._next()
        self._changed.set()

    def _next(self) -> Job | None:
        with self._mutex:
            self._collect()
            if self._over or self._failures:
                return None
            if not self._is_room():
                return None
            if self._waiting and self._is_welcome():
                file = self._waiting.popleft()
                # Thousands of small files need no watcher between one and the next.
                wake = self._changed.set if file.size >= SPLIT_FROM or not self._welcome else _nothing
                blob = BlobTransfer(file, self._route, wake)
                self._running.append(blob)
                return blob.run
            return next((job for blob in self._running if (job := blob.help()) is not None), None)

    def _is_welcome(self) -> bool:
        """Until the first answer, one request: a repo that may not be read is not asked for all its files."""
        self._welcome = self._welcome or any(blob.answered or blob.locked_out for blob in self._running)
        return self._welcome or not self._running

    def _is_room(self) -> bool:
        return sum(blob.connections for blob in self._running) < self._route.policy.connections

    def _collect(self) -> None:
        ended = [blob for blob in self._running if blob.ended]
        if ended:
            self._running = [blob for blob in self._running if not blob.ended]
            self._welcome = True
        self.received += sum(blob.received for blob in ended)
        self._done |= {blob.file.digest for blob in ended if blob.error is None}
        self._failures += [blob.error for blob in ended if blob.error is not None]

    def _end_stuck(self, now: float) -> None:
        limit = 4 * self._route.policy.connect  # two servers, each with its connection and its first byte
        for blob in list(self._running):
            blob.end_stuck(now, limit)


def _nothing() -> None:
    """Nobody need look."""


def _weight(failure: Exception) -> tuple[bool, bool, float]:
    """A permanent failure first, then a wrong digest, then the server that asks for the longest wait."""
    if not isinstance(failure, Transient):
        return True, True, 0.0
    return False, not failure.earns, failure.retry_after or 0.0
