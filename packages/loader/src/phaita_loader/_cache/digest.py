"""Digests of files, and the memory of which files were digested."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

    from phaita_loader.listing import Algorithm

__all__ = ["RunningDigest", "digest_of", "digest_of_bytes", "stamp", "stamped"]

_BLOCK = 1 << 20
_THREAD_FROM = 4 << 20  # below, a thread costs more than it saves


def digest_of(path: Path, algorithm: Algorithm, size: int, check: Callable[[], None] = lambda: None) -> str:
    """The hex digest of the first `size` bytes of a file; git's is that of the blob object.

    `check` is called now and then, and ends it by raising. Raises OSError.
    """
    digest = _started(algorithm, size)
    with path.open("rb", buffering=0) as file:
        while size and (block := file.read(min(_BLOCK, size))):
            check()
            digest.update(block)
            size -= len(block)
    if size:
        raise _too_short(path)
    return digest.hexdigest()


def digest_of_bytes(content: bytes, algorithm: Algorithm) -> str:
    """The hex digest of a whole file's content."""
    digest = _started(algorithm, len(content))
    digest.update(content)
    return digest.hexdigest()


class RunningDigest:
    """The digest of a file that still grows: reads behind the writer, in a thread of its own where that pays.

    hashlib frees the GIL, so that a second core does the work; the bytes come from the page cache.
    """

    def __init__(self, path: Path, algorithm: Algorithm, size: int) -> None:
        self._path = path
        self._size = size
        self._hash: _Hash = _started(algorithm, size)
        self._ready = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def advance(self, ready: int) -> None:
        """Say that the first `ready` bytes of the file are there."""
        with self._changed:
            # Few and large steps: each wake-up takes the GIL from the connections.
            if ready < self._size and ready - self._ready < _BLOCK:
                return
            self._ready = ready
            self._changed.notify()
            if self._thread is None and not self._stopped and self._size >= _THREAD_FROM:
                self._thread = threading.Thread(target=self._follow, daemon=True, name="phaita-digest")
                self._thread.start()

    def result(self) -> str:
        """The hex digest, once all bytes are there. Raises OSError where the file can't be read."""
        if self._thread is None:
            self._follow()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def stop(self) -> None:
        """End the thread; there will be no result."""
        with self._changed:
            self._stopped = True
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
            self._changed.wait_for(lambda: self._ready > done or self._stopped)
            return done if self._stopped else self._ready


def _too_short(path: Path) -> OSError:
    return FileNotFoundError(errno.ENOENT, "the file was cut", path.name)


def _started(algorithm: Algorithm, size: int) -> _Hash:
    if algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def stamp(record: Path, blob: Path, before: os.stat_result) -> None:
    """Remember that the blob was digested: in the record, or where that can't be written, elsewhere.

    `before` is what it looked like when that began: one that changed meanwhile gets no stamp.
    """
    text = _seen(before)
    if text != _seen(blob.stat()):
        return
    for path in _places(record):
        with suppress(OSError):
            _written(path, text)
            return


def stamped(record: Path, blob: Path) -> bool:
    """Whether the blob is, by size and time of change, the one that was digested."""
    text = _seen(blob.stat())
    for path in _places(record):
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text(encoding="ascii") == text:
                return True
    return False


def _written(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def _seen(seen: os.stat_result) -> str:
    return f"{seen.st_size} {seen.st_mtime_ns}"


def _places(record: Path) -> Iterator[Path]:
    """The record; for a read-only cache one in this user's own folder, found as huggingface_hub finds its own."""
    yield record
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # Path's raises without a home
    folder = hashlib.sha256(os.fsencode(record.parent.absolute())).hexdigest()[:32]
    yield Path(base, "phaita-loader", "stamps", folder, record.name)
