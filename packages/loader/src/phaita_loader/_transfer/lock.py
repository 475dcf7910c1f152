"""huggingface_hub's own lock of one blob: its owner downloads, other processes wait and say so."""

from __future__ import annotations

import errno
import logging
import threading

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from phaita_loader._transfer.context import TransferContext
from phaita_loader.listing import RemoteFile
from phaita_loader.progress import Wait

__all__ = ["BlobLock"]

logger = logging.getLogger("phaita_loader")

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_POLL = 0.1  # seconds between two tries
_LEASE = 60.0  # seconds; every version of this package must use the same
_LOG_EVERY = 15.0  # seconds between two log lines about a lock that another process has


class BlobLock:
    """The lock of one blob: acquired by one thread, released by the same or another.

    waiting: True while another process has it.
    """

    def __init__(self, file: RemoteFile, context: TransferContext) -> None:
        self.waiting = False
        self._file = file
        self._context = context
        self._lock: BaseFileLock = FileLock(context.cache.lock(file), thread_local=False, mode=0o664)
        self._mutex = threading.Lock()
        self._released = threading.Event()

    def acquire(self) -> bool:
        """Wait for the lock; return False after `release`. Raises OSError where the folder can't have locks."""
        clock = self._context.clock
        log_at = clock.now() + _LOG_EVERY
        while not self._released.is_set() and not self._try_acquire():
            self.waiting = True
            now = clock.now()
            if now >= log_at:
                log_at = now + _LOG_EVERY
                self._log(log_at)
            clock.wait(self._released, _POLL)
        self.waiting = False
        return not self._released.is_set()

    def release(self) -> None:
        """Give the lock back, and end an `acquire` that waits for it; do nothing the second time."""
        with self._mutex:
            self._released.set()
            self._lock.release()

    def _try_acquire(self) -> bool:
        try:
            # Not under the mutex: a network file system may hold up the call.
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS or isinstance(self._lock, SoftFileLease):
                raise
            # Where the disk has no locks, a file that exists is the lock, for as long as its owner, who may die on
            # another machine, keeps it fresh. Its name differs from that of flock's own file.
            self._lock = SoftFileLease(f"{self._lock.lock_file}.soft", lease_duration=_LEASE, thread_local=False)
            return self._try_acquire()
        with self._mutex:
            if self._released.is_set():
                self._lock.release()
        return True

    def _log(self, until: float) -> None:
        cause = f"another process is downloading {self._file.path}"
        logger.warning("%s: %s; waiting for it", self._context.cache.repo_id, cause)
        self._context.listen(Wait(cause, _LOG_EVERY, until))
