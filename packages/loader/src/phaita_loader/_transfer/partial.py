"""One blob's bytes while they arrive: a data file, and a record of which ranges of it are there.

A partial is a folder named by the digest. It is renamed to a process-unique name before it is written, so that two
writers whose locks lie do not share one, and renamed back when its owner stops. What a killed owner left is found by
its prefix.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from io import BytesIO, FileIO
from pathlib import Path

from phaita_loader._transfer.disk import moved, renamed, sync, write
from phaita_loader._transfer.journal import Record, note, read
from phaita_loader._transfer.leftovers import left_of
from phaita_loader._transfer.segments import Span, gaps, spans_with
from phaita_loader.listing import RemoteFile

__all__ = ["Partial"]


_NOTE = 1 << 20  # bytes that are worth a line in the record


class Partial:
    """The claimed partial of one file. Not thread-safe: its owner holds a lock around each call.

    `in_memory`: of a file that nothing was left of, the bytes get to the disk only when it is whole or given up.
    `alone`: what others left is not taken over.
    """

    def __init__(self, folder: Path, file: RemoteFile, *, in_memory: bool = False, alone: bool = False) -> None:
        self.file = file
        self.spans: tuple[Span, ...] = ()
        self.synced: tuple[Span, ...] = ()
        self._unnoted = 0
        self._folder = folder
        self._claimed = folder / f"{file.digest}.{os.getpid()}-{secrets.token_hex(4)}"
        left = [] if alone else left_of(folder, file)
        self._memory = BytesIO() if in_memory and not left else None
        self._data: FileIO | BytesIO = self._memory or self._opened(left)

    @property
    def path(self) -> Path:
        """The data file, unless the bytes are in memory."""
        return self._claimed / "data"

    @property
    def content(self) -> bytes | None:
        """The bytes that are in memory; None where they are in the data file."""
        return None if self._memory is None else self._memory.getvalue()

    @property
    def frontier(self) -> int:
        """The first byte that is missing."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0

    @property
    def size(self) -> int:
        """Bytes received."""
        return _size(self.spans)

    @property
    def unsynced(self) -> int:
        """Bytes received that a power cut would cost."""
        return _size(self.spans) - _size(self.synced)

    def write(self, offset: int, chunk: bytes) -> int:
        """Put bytes where they belong; how many of them are new. Those beyond the file's size are dropped.

        What is there already stays: it may have been digested, and other bytes in its place would pass for the right.
        """
        end, view, before = min(offset + len(chunk), self.file.size), memoryview(chunk), self.size
        for start, stop in gaps(self.spans, offset, end):
            self._data.seek(start)
            write(self._data, view[start - offset : stop - offset])
            self.spans = spans_with(self.spans, start, stop)
        self._unnoted += self.size - before
        if self._unnoted >= _NOTE and self._memory is None:
            self.note()
        return self.size - before

    def record(self) -> None:
        """Make what arrived survive: first the data, then the record that says so."""
        sync(self._data.fileno())
        self.synced = self.spans
        self.note()

    def note(self) -> None:
        """Record what there is. Raises OSError."""
        note(self._claimed, self.file, Record(self.spans, self.synced))
        self._unnoted = 0

    def forget_unsynced(self) -> None:
        """Claim only what the disk has: it refused the rest, which may be gone from memory too when it is read."""
        self.spans = self.synced
        with suppress(OSError):
            self.note()

    def duplicate(self) -> int:
        """The data file once more, as a descriptor that outlives this object; to be closed by the caller."""
        return os.dup(self._data.fileno())

    def publish(self, blob: Path) -> None:
        """The whole and verified file becomes the blob, atomically and with the modes that the umask asks for."""
        if self._memory is not None:
            self._publish_memory(self._memory.getvalue(), blob)
            return
        self._data.truncate(self.file.size)
        sync(self._data.fileno())
        self.note()  # the blobs may lie on another disk, and that one be full
        self._data.close()
        moved(self.path, blob)
        shutil.rmtree(self._claimed, ignore_errors=True)

    def _publish_memory(self, content: bytes, blob: Path) -> None:
        try:
            with FileIO(self._claimed, "x") as fresh:
                write(fresh, memoryview(content))
                sync(fresh.fileno())
            moved(self._claimed, blob)
        except OSError:
            self._claimed.unlink(missing_ok=True)
            raise
        self._data.close()

    def discard(self) -> None:
        """Throw all bytes away: they are wrong."""
        self._data.close()
        self.spans = ()
        if self._memory is None:
            shutil.rmtree(self._claimed, ignore_errors=True)

    def release(self) -> None:
        """Leave what is there to whoever comes next. Nothing happens after `publish` or `discard`."""
        if self._data.closed:
            return
        if not self.spans:
            self.discard()
            return
        try:
            self._spill()
            if self.unsynced:
                self.record()
        finally:  # a full disk takes no record
            self._data.close()
        renamed(self._claimed, self._folder / self.file.digest)

    def _spill(self) -> None:
        """What is in memory goes to the disk."""
        if self._memory is not None:
            self._claimed.mkdir()
            self._data = FileIO(self.path, "x+")
            write(self._data, self._memory.getbuffer())
            self._memory = None

    def _opened(self, left: list[Path]) -> FileIO:
        """The data file of the fullest of what earlier owners left; the rest is cleared away."""
        left.sort(key=lambda found: read(found, self.file).size)
        while left and not self._claimed.exists():
            best = left.pop()
            record = read(best, self.file)
            if record.written and renamed(best, self._claimed):
                self.spans, self.synced = record.written, record.synced
            elif not record.written:
                shutil.rmtree(best, ignore_errors=True)
        for found in left:
            shutil.rmtree(found, ignore_errors=True)
        self._claimed.mkdir(exist_ok=True)
        os.utime(self._claimed)  # `clean` goes by the last call that asked for it
        return FileIO(self.path, "r+" if self.path.exists() else "x+")


def _size(spans: tuple[Span, ...]) -> int:
    return sum(end - start for start, end in spans)
