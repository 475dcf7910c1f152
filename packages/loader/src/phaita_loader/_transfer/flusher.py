"""Flushes a partial file from its own thread, so that fdatasync does not hold up the download."""

from __future__ import annotations

import os
import threading

from phaita_loader._transfer.disk import sync
from phaita_loader._transfer.partial import Partial

__all__ = ["FLUSH", "Flusher"]

FLUSH = 8 << 20
"""The bytes that a power cut can cost at most."""

_SOON = 4 << 20  # bytes that are worth a flush at once
_DISK_WAIT = 0.2  # seconds that the end of a transfer waits for a slow disk


class Flusher:
    """A thread that flushes one partial file: at once where there is much to lose, else `every` so many seconds.

    `mutex` is the lock under which the partial is written.
    """

    def __init__(self, partial: Partial, mutex: threading.Lock, every: float = 1.0) -> None:
        self._partial = partial
        self._changed = threading.Condition(mutex)
        self._every = every
        self._cancelled = False
        self._error: OSError | None = None
        self._descriptor = partial.duplicate()
        self._thread = threading.Thread(target=self._run, daemon=True, name="phaita-record")
        self._thread.start()

    @property
    def error(self) -> OSError | None:
        """The disk's refusal of what was written. The disk reports it once: a second flush would succeed in vain."""
        return self._error

    def catch_up(self) -> None:
        """Wait, releasing the mutex, where the disk is far behind; to be called before a write, under the mutex.

        Raises OSError where the disk refused a flush.
        """
        if self._partial.unsynced >= _SOON:
            self._changed.notify_all()
        self._changed.wait_for(lambda: self._partial.unsynced < FLUSH or self._error or self._cancelled)
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """End the thread, however long a slow disk keeps it; to be called without the mutex."""
        while not self.cancel():
            pass

    def cancel(self) -> bool:
        """End the thread; return False where a slow disk still keeps it. To be called without the mutex."""
        self._cancelled = True
        if self._changed.acquire(timeout=_DISK_WAIT):  # a disk that does not answer may keep it
            self._changed.notify_all()
            self._changed.release()
        self._thread.join(_DISK_WAIT)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._flush_next():
                pass
        except OSError as error:
            with self._changed:
                self._error = error
                self._partial.forget_unsynced()
                self._changed.notify_all()
        finally:
            os.close(self._descriptor)

    def _flush_next(self) -> bool:
        """Wait for bytes and flush them; return False once cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self._partial.unsynced >= _SOON or self._cancelled, self._every)
            ranges = self._partial.ranges
            if self._cancelled:
                return False
        if ranges != self._partial.synced:
            # Without the mutex: the workers go on writing while the disk takes its time.
            sync(self._descriptor)
            with self._changed:
                self._partial.synced = ranges
                self._partial.append_entry()
                self._changed.notify_all()
        return True
