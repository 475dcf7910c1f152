"""What arrived is made to survive, in a thread of its own: the disk's waits are not the network's."""

from __future__ import annotations

import os
import threading

from phaita_loader._transfer.disk import sync
from phaita_loader._transfer.partial import Partial

__all__ = ["FLUSH", "Recorder"]

FLUSH = 8 << 20
"""Bytes that a power cut can cost at most."""

_SOON = 4 << 20  # bytes that are worth waiting for the disk
_PATIENCE = 0.2  # seconds that the end of a transfer waits for a slow disk


class Recorder:
    """Records one partial file while it is written: soon where there is much to lose, and `every` so many seconds.

    `mutex` is the lock under which the partial is written.
    """

    def __init__(self, partial: Partial, mutex: threading.Lock, every: float = 1.0) -> None:
        self._partial = partial
        self._changed = threading.Condition(mutex)
        self._every = every
        self._stopped = False
        self._error: OSError | None = None
        self._descriptor = partial.duplicate()
        self._thread = threading.Thread(target=self._run, daemon=True, name="phaita-record")
        self._thread.start()

    @property
    def error(self) -> OSError | None:
        """Why the disk did not take what was written. It says so once: a second try would be called done."""
        return self._error

    def catch_up(self) -> None:
        """Call it before a write, under the mutex; waits (letting go of it) where the disk is far behind.

        Raises OSError where the disk does not take the record.
        """
        if self._partial.unsynced >= _SOON:
            self._changed.notify_all()
        self._changed.wait_for(lambda: self._partial.unsynced < FLUSH or self._error or self._stopped)
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """End the thread, called without the mutex, however long a slow disk keeps it."""
        while not self.stop():
            pass

    def stop(self) -> bool:
        """End the thread, called without the mutex; False where a slow disk still keeps it."""
        self._stopped = True
        if self._changed.acquire(timeout=_PATIENCE):  # a disk that does not answer may keep it
            self._changed.notify_all()
            self._changed.release()
        self._thread.join(_PATIENCE)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._record_next():
                pass
        except OSError as error:
            with self._changed:
                self._error = error
                self._partial.forget_unsynced()
                self._changed.notify_all()
        finally:
            os.close(self._descriptor)

    def _record_next(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._partial.unsynced >= _SOON or self._stopped, self._every)
            spans = self._partial.spans
            if self._stopped:
                return False
        if spans != self._partial.synced:
            sync(self._descriptor)
            with self._changed:
                self._partial.synced = spans
                self._partial.note()
                self._changed.notify_all()
        return True
