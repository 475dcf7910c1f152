"""Partial files: one blob's bytes while they arrive, and those that earlier calls left.

A partial is a folder named by the digest, with a data file and a journal of the ranges in it. It is renamed to a
process-unique name before it is written, so that two writers whose locks do not work never share one, and renamed back
when its owner stops. The partial of a killed owner is found by its prefix.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from io import BytesIO, FileIO
from pathlib import Path

from phaita_loader._transfer.disk import move, sync, try_rename, write_all
from phaita_loader._transfer.journal import Entry, append, read
from phaita_loader._transfer.ranges import Ranges
from phaita_loader.listing import RemoteFile

__all__ = ["Partial", "bytes_present", "remove_stale"]

_APPEND_EVERY = 1 << 20  # bytes that are worth a line in the journal
_STALE_AFTER = 14 * 24 * 3600  # seconds since the last call that asked for the file
_OURS = re.compile(r"(?P<digest>[0-9a-f]{40}([0-9a-f]{24})?)(\..+)?|(new|link)-\d+-[0-9a-f]+")


class Partial:
    """The claimed partial of one file. Not thread-safe: its owner holds a lock around each call.

    in_memory: if nothing of the file was left, its bytes are written to the disk only when it is whole or released.
    alone: True to leave other owners' partials where they are.
    """

    def __init__(self, folder: Path, file: RemoteFile, *, in_memory: bool = False, alone: bool = False) -> None:
        self.file = file
        self.ranges = Ranges()
        self.synced = Ranges()
        self._unrecorded = 0
        self._folder = folder
        self._claimed = folder / f"{file.digest}.{os.getpid()}-{secrets.token_hex(4)}"
        left = [] if alone else _partials_of(folder, file)
        self._memory = BytesIO() if in_memory and not left else None
        self._data: FileIO | BytesIO = self._memory or self._open(left)

    @property
    def path(self) -> Path:
        """The data file, unless the bytes are in memory."""
        return self._claimed / "data"

    @property
    def content(self) -> bytes | None:
        """The bytes that are in memory; None where they are in the data file."""
        return None if self._memory is None else self._memory.getvalue()

    @property
    def unsynced(self) -> int:
        """The bytes received that a power cut would cost."""
        return self.ranges.size - self.synced.size

    def write(self, offset: int, chunk: bytes) -> int:
        """Write bytes at their offset; return the number of new ones. Those beyond the file's size are dropped.

        Bytes that are there stay: they may have been digested, and others in their place would pass unnoticed.
        """
        end, view, before = min(offset + len(chunk), self.file.size), memoryview(chunk), self.ranges.size
        for start, stop in self.ranges.missing(offset, end):
            self._data.seek(start)
            write_all(self._data, view[start - offset : stop - offset])
            self.ranges = self.ranges.add(start, stop)
        new = self.ranges.size - before
        self._unrecorded += new
        if self._unrecorded >= _APPEND_EVERY and self._memory is None:
            self.append_entry()
        return new

    def flush(self) -> None:
        """Make what arrived survive a power cut: first the data, then the journal that claims it. Raises OSError."""
        sync(self._data.fileno())
        self.synced = self.ranges
        self.append_entry()

    def append_entry(self) -> None:
        """Append the present ranges to the journal. Raises OSError."""
        append(self._claimed, self.file, Entry(self.ranges, self.synced))
        self._unrecorded = 0

    def forget_unsynced(self) -> None:
        """Claim only what the disk has: it refused the rest, which a later read may not return."""
        self.ranges = self.synced
        with suppress(OSError):
            self.append_entry()

    def duplicate(self) -> int:
        """Return a second descriptor of the data file, which outlives this object; the caller closes it."""
        return os.dup(self._data.fileno())

    def publish(self, blob: Path) -> None:
        """Turn the whole and verified file into the blob, atomically and with the modes of the umask."""
        if self._memory is not None:
            self._publish_memory(self._memory.getvalue(), blob)
            return
        # A resumed data file of another call may be longer.
        self._data.truncate(self.file.size)
        sync(self._data.fileno())
        self.append_entry()  # the blobs may be on another disk, which may be full
        self._data.close()
        move(self.path, blob)
        shutil.rmtree(self._claimed, ignore_errors=True)

    def discard(self) -> None:
        """Delete all bytes: they are wrong."""
        self._data.close()
        self.ranges = Ranges()
        if self._memory is None:
            shutil.rmtree(self._claimed, ignore_errors=True)

    def release(self) -> None:
        """Leave the bytes to the next owner; do nothing after `publish` or `discard`. Raises OSError."""
        if self._data.closed:
            return
        if not self.ranges.spans:
            self.discard()
            return
        try:
            self._spill()
            if self.unsynced:
                self.flush()
        finally:  # a full disk takes no journal entry
            self._data.close()
        try_rename(self._claimed, self._folder / self.file.digest)

    def _publish_memory(self, content: bytes, blob: Path) -> None:
        try:
            with FileIO(self._claimed, "x") as fresh:
                write_all(fresh, memoryview(content))
                sync(fresh.fileno())
            move(self._claimed, blob)
        except OSError:
            self._claimed.unlink(missing_ok=True)
            raise
        self._data.close()

    def _spill(self) -> None:
        """Write the bytes that are in memory to the disk."""
        if self._memory is not None:
            self._claimed.mkdir()
            self._data = FileIO(self.path, "x+")
            write_all(self._data, self._memory.getbuffer())
            self._memory = None

    def _open(self, left: list[Path]) -> FileIO:
        """Open the data file of the fullest partial that earlier owners left, and remove the others."""
        left.sort(key=lambda found: read(found, self.file).written.size)
        while left and not self._claimed.exists():
            best = left.pop()
            entry = read(best, self.file)
            # Another process may claim the same one: the rename decides.
            if entry.written.spans and try_rename(best, self._claimed):
                self.ranges, self.synced = entry.written, entry.synced
            elif not entry.written.spans:
                shutil.rmtree(best, ignore_errors=True)
        for found in left:
            shutil.rmtree(found, ignore_errors=True)
        self._claimed.mkdir(exist_ok=True)
        os.utime(self._claimed)  # `remove_stale` goes by the last call that asked for it
        return FileIO(self.path, "r+" if self.path.exists() else "x+")


def remove_stale(folder: Path, wanted: Collection[str]) -> None:
    """Remove stale partials of all files except the `wanted` digests, and what interrupted writes left."""
    oldest = time.time() - _STALE_AFTER
    for found in folder.glob("*"):
        with suppress(OSError):  # another process may remove it too
            ours = _OURS.fullmatch(found.name)
            if ours and ours["digest"] not in wanted and found.lstat().st_mtime < oldest:
                _remove(found)


def bytes_present(folder: Path, files: Iterable[RemoteFile]) -> Counter[str]:
    """Count the bytes of each file that earlier calls left, by digest."""
    wanted, most = {file.digest: file for file in files}, Counter[str]()
    for found in _folders(folder):
        digest = found.name.partition(".")[0]
        if digest in wanted:
            most[digest] = max(most[digest], read(Path(found), wanted[digest]).written.size)
    return most


def _partials_of(folder: Path, file: RemoteFile) -> list[Path]:
    """Return the partials of one file, whoever their owners are."""
    return [Path(found) for found in _folders(folder) if found.name.partition(".")[0] == file.digest]


def _remove(found: Path) -> None:
    if found.is_dir() and not found.is_symlink():
        shutil.rmtree(found, ignore_errors=True)
    else:
        found.unlink(missing_ok=True)


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return [found for found in os.scandir(folder) if found.is_dir()]
    except FileNotFoundError:
        return []
