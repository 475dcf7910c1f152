"""huggingface_hub's own lock of one blob: whoever has it downloads, the others wait and say so."""

from __future__ import annotations

import errno
import logging
import threading

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from phaita_loader._transfer.context import Route
from phaita_loader.listing import RemoteFile
from phaita_loader.progress import Wait

__all__ = ["BlobLock"]

logger = logging.getLogger("phaita_loader")

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_POLL = 0.1
_LEASE = 60.0  # seconds; every version of this package must say the same
_SAY_EVERY = 15.0  # seconds between two lines about a lock that another process has


class BlobLock:
    """Taken by one thread, and given back by that or another. `waiting` is whether another process has it."""

    def __init__(self, file: RemoteFile, route: Route) -> None:
        self.waiting = False
        self._file = file
        self._route = route
        self._lock: BaseFileLock = FileLock(route.cache.lock(file), thread_local=False, mode=0o664)
        self._mutex = threading.Lock()
        self._given_up = threading.Event()

    def take(self) -> bool:
        """Wait for it; False after `give_back`. Raises OSError where the folder can't have locks."""
        say_at = self._route.clock.now() + _SAY_EVERY
        while not self._given_up.is_set() and not self._try():
            self.waiting = True
            now = self._route.clock.now()
            if now >= say_at:
                say_at = now + _SAY_EVERY
                self._say(say_at)
            self._given_up.wait(_POLL)
        self.waiting = False
        return not self._given_up.is_set()

    def give_back(self) -> None:
        """Let the next one have it; nothing happens the second time."""
        with self._mutex:
            self._given_up.set()
            self._lock.release()

    def _try(self) -> bool:
        try:
            # Not under the mutex: a network file system may keep whoever asks it.
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS or isinstance(self._lock, SoftFileLease):
                raise
            # A file that exists is the lock where the disk has no others, for as long as its owner, who may die on
            # another machine, keeps it fresh; the name is free of flock's own file.
            self._lock = SoftFileLease(f"{self._lock.lock_file}.soft", lease_duration=_LEASE, thread_local=False)
            return self._try()
        with self._mutex:
            if self._given_up.is_set():
                self._lock.release()
        return True

    def _say(self, until: float) -> None:
        cause = f"another process is downloading {self._file.path}"
        logger.warning("%s: %s; waiting for it", self._route.cache.repo_id, cause)
        self._route.listen(Wait(cause, _SAY_EVERY, until))
