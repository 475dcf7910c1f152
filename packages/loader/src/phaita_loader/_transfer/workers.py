"""The workers of one file: a first one, and extra ones where it alone would take long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.worker import Worker
from phaita_loader._transfer.writer import BlobWriter
from phaita_loader.retry import Transient

__all__ = ["Workers"]

_TRIAL = 0.25  # seconds after which the speed of one connection is known
_QUICK = 2.0  # seconds of remaining time that are not worth an extra connection


class Workers:
    """The workers of one file: `run` is the work of its own thread, `spawn_extra` gives that of each further one.

    `on_change` is called when the scheduler should look again, `fail` with an error of an extra worker that ends the
    file.
    """

    def __init__(
        self,
        writer: BlobWriter,
        context: TransferContext,
        on_change: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.writer = writer
        self._context = context
        self._on_change = on_change
        self._fail = fail
        self._mutex = threading.Lock()
        self._cancelled = False
        self._first = Worker(writer, context, self._note_answer)
        self._extra: list[Worker] = []
        self._extra_left = threading.Event()
        self._refused_extra = False
        self._answered_at: float | None = None

    @property
    def count(self) -> int:
        """The number of threads that bring the file."""
        return 1 + len(self._extra)

    @property
    def answered(self) -> bool:
        """True if a server gave the first worker a body."""
        return self._answered_at is not None

    def run(self) -> None:
        """Bring segments until all bytes are there.

        Raises the first worker's error where no extra worker goes on: Transient, any other error of the Hub, OSError.
        """
        while not self.writer.complete:
            if self._cancelled:
                raise Transient(f"{self.writer.file.path} was given up")
            segment = self.writer.claim()
            if segment is None:
                self._wait_for_extra()
                continue
            try:
                self._first.bring(segment)
            except Transient:
                self._refused_extra = True  # a server that refuses one of several connections is asked for fewer
                if not self._wait_for_progress():
                    raise

    def spawn_extra(self) -> Callable[[], None] | None:
        """Add a worker and return its work for a new thread, if there is work for it."""
        with self._mutex:
            if self._cancelled or self._refused_extra or not self._is_slow() or not self.writer.has_work():
                return None
            extra = Worker(self.writer, self._context)
            self._extra.append(extra)
        return lambda: self._run_extra(extra)

    def reconnect(self) -> None:
        """Go on over new connections."""
        for worker in self._all():
            worker.reconnect()

    def cancel_stuck(self, now: float, limit: float) -> bool:
        """Cancel extra workers that have waited for a response for over `limit` seconds, without waiting for a disk.

        Returns True if the first worker has waited so long.
        """
        # Only the stuck one ends: its segment goes to another worker.
        for extra in [one for one in self._extra if one.opening_for(now) > limit]:
            self._remove_extra(extra)
            threading.Thread(target=self._cancel_extra, args=(extra,), daemon=True).start()
        return self._first.opening_for(now) > limit

    def cancel(self) -> None:
        """End all workers from another thread, though they may be stuck."""
        with self._mutex:
            self._cancelled = True
        for worker in self._all():
            worker.cancel()
        self._extra_left.set()

    def _all(self) -> list[Worker]:
        with self._mutex:
            return [*self._extra, self._first]

    def _note_answer(self) -> None:
        self._answered_at = self._context.clock.now()
        self._on_change()

    def _is_slow(self) -> bool:
        """True if one worker would take long: on a fast link more of them cost processor time and gain nothing."""
        if self._answered_at is None:
            return False
        elapsed = self._context.clock.now() - self._answered_at
        rest = self.writer.file.size - self.writer.size
        return elapsed >= _TRIAL and rest * elapsed > _QUICK * self.writer.received

    def _wait_for_progress(self) -> bool:
        """Wait for an extra worker, if there is one, to leave; return True if bytes came meanwhile."""
        before = self.writer.received
        self._extra_left.clear()
        if self._extra:
            self._wait_for_extra()
        return self.writer.received > before

    def _wait_for_extra(self) -> None:
        self._extra_left.wait()
        self._extra_left.clear()

    def _run_extra(self, extra: Worker) -> None:
        error: Exception | None = None
        try:
            while (segment := self.writer.claim()) is not None:
                extra.bring(segment)
        except (Transient, FileNotFoundError):  # the first worker goes on, or finds the same
            self._refused_extra = True
        except Exception as raised:
            error = raised
        self._remove_extra(extra)
        if error is not None:
            self._fail(error)

    def _cancel_extra(self, extra: Worker) -> None:
        extra.cancel()
        self._extra_left.set()  # its segment is free again

    def _remove_extra(self, extra: Worker) -> None:
        with self._mutex:
            if extra in self._extra:
                self._extra.remove(extra)
        self._extra_left.set()
        self._on_change()
