"""Digests of files: of those on disk, and of one that still grows."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

    from phaita_loader.listing import Algorithm

__all__ = ["RunningDigest", "digest_of", "digest_of_bytes"]

_BLOCK = 1 << 20
_THREAD_FROM = 4 << 20  # below, a thread costs more than it saves


def digest_of(path: Path, algorithm: Algorithm, size: int, check: Callable[[], None] = lambda: None) -> str:
    """Return the hex digest of the first `size` bytes of a file; git's is that of the blob object.

    `check` is called for each block, and ends the digest by raising. Raises OSError.
    """
    digest = _started(algorithm, size)
    # Unbuffered: blocks are large, and a second copy of each would cost time.
    with path.open("rb", buffering=0) as file:
        while size and (block := file.read(min(_BLOCK, size))):
            check()
            digest.update(block)
            size -= len(block)
    if size:
        raise _too_short(path)
    return digest.hexdigest()


def digest_of_bytes(content: bytes, algorithm: Algorithm) -> str:
    """Return the hex digest of a whole file's content."""
    digest = _started(algorithm, len(content))
    digest.update(content)
    return digest.hexdigest()


class RunningDigest:
    """A digest of a file that still grows: it reads behind the writer, in its own thread for a large file.

    hashlib frees the GIL, so a second core does the work; the bytes come from the page cache.
    """

    def __init__(self, path: Path, algorithm: Algorithm, size: int) -> None:
        self._path = path
        self._size = size
        self._hash: _Hash = _started(algorithm, size)
        self._ready = 0
        self._cancelled = False
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def advance(self, ready: int) -> None:
        """Digest as far as the first `ready` bytes of the file, which are written now."""
        with self._changed:
            # Few and large steps: each wake-up takes the GIL from the connections.
            if ready < self._size and ready - self._ready < _BLOCK:
                return
            self._ready = ready
            self._changed.notify()
            # Small files are digested when they are whole, without a thread.
            if self._thread is None and not self._cancelled and self._size >= _THREAD_FROM:
                self._thread = threading.Thread(target=self._follow, daemon=True, name="phaita-digest")
                self._thread.start()

    def result(self) -> str:
        """Return the hex digest, once all bytes are written. Raises OSError where the file can't be read."""
        if self._thread is None:
            self._follow()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def cancel(self) -> None:
        """End the thread; there will be no result."""
        with self._changed:
            self._cancelled = True
            self._changed.notify()

    def _follow(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                done, block = 0, memoryview(bytearray(min(_BLOCK, self._size)))
                while done < self._size and (ready := self._wait_beyond(done)) > done:
                    count = file.readinto(block[: ready - done])
                    if not count:
                        raise _too_short(self._path)
                    self._hash.update(block[:count])
                    done += count
        except OSError as error:
            self._error = error

    def _wait_beyond(self, done: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._ready > done or self._cancelled)
            return done if self._cancelled else self._ready


def _too_short(path: Path) -> OSError:
    return FileNotFoundError(errno.ENOENT, "the file is shorter than expected", path.name)


def _started(algorithm: Algorithm, size: int) -> _Hash:
    if algorithm == "sha256":
        return hashlib.sha256()
    # git's blob id; sha1 protects nothing here, it is compared with what the Hub lists.
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
