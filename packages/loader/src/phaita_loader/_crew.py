"""Several blobs at a time, watched from the calling thread: one attempt at a commit's files.

The watcher starts files, ends those that no socket timeout can end (a stuck name lookup, dripped headers), and keeps
the attempt's time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Deadline
from phaita_loader.retry import Transient
from phaita_loader.transfer import BlobTransfer, Route

__all__ = ["bring"]

_AT_ONCE = 4
_TICK = 0.1  # seconds between two looks at the clock


def bring(files: Sequence[RemoteFile], route: Route, until: Deadline, deadline: Deadline) -> None:
    """Bring all these blobs into the cache, until the attempt's or the call's end.

    Time spent waiting for other processes that hold the locks is not the attempt's. A file that fails lets those
    under way go on, and no other is started. Raises Transient (with the bytes that came all the same) and, at once,
    NotFound, AccessDenied or StorageError.
    """
    crew = _Crew(route)
    try:
        failure = crew.run(deque(files), until, deadline)
    finally:
        crew.abandon()
    if isinstance(failure, Transient):
        failure.received = crew.received
    if failure is not None:
        raise failure


class _Crew:
    def __init__(self, route: Route) -> None:
        self.received = 0
        self._route = route
        self._running: list[BlobTransfer] = []
        self._failures: list[Exception] = []
        self._changed = threading.Event()

    def run(self, waiting: deque[RemoteFile], until: Deadline, deadline: Deadline) -> Exception | None:
        """Until all is there (None), or the failure that ends the attempt."""
        before = now = self._route.clock.now()
        while True:
            self._changed.clear()
            self._end_stuck(now)
            self._collect()
            failure = max(self._failures, key=_weight, default=None)
            if failure is not None and (not self._running or not isinstance(failure, Transient)):
                return failure
            if self._running and all(blob.locked_out for blob in self._running):
                until = Deadline(until.at + now - before)
            if (self._running or waiting) and until.earlier(deadline).passed(now):
                return failure or Transient(f"not done within {self._route.policy.timeout:g} s")
            while waiting and failure is None and len(self._running) < _AT_ONCE:
                self._start(waiting.popleft())
            if not self._running:
                return None
            self._changed.wait(_TICK)
            before, now = now, self._route.clock.now()

    def abandon(self) -> None:
        """End what still runs; what it brought counts."""
        for blob in self._running:
            blob.abandon("given up")
        self.received += sum(blob.received for blob in self._running)

    def _collect(self) -> None:
        ended = [blob for blob in self._running if blob.ended]
        self._running = [blob for blob in self._running if blob not in ended]
        self.received += sum(blob.received for blob in ended)
        self._failures += [blob.error for blob in ended if blob.error is not None]

    def _start(self, file: RemoteFile) -> None:
        blob = BlobTransfer(file, self._route, self._changed.set)
        self._running.append(blob)
        threading.Thread(target=blob.run, daemon=True, name=f"phaita-{file.digest[:8]}").start()

    def _end_stuck(self, now: float) -> None:
        limit = 4 * self._route.policy.connect  # two servers, each with its connection and its first byte
        for blob in self._running:
            if blob.opening_for(now) > limit:
                blob.abandon(f"no answer for {blob.file.path} within {limit:g} s")


def _weight(failure: Exception) -> tuple[bool, bool, float]:
    """A permanent failure first, then a wrong digest, then the server that asks for the longest wait."""
    if not isinstance(failure, Transient):
        return True, True, 0.0
    return False, not failure.earns, failure.retry_after or 0.0
