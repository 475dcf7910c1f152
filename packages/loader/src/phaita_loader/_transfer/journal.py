"""Which ranges of a partial file are there: a line of JSON whenever that changes, of which the last whole one counts.

It names what the disk has, which outlives a power cut, and what was written since the machine started, which outlives
the process. Lines are added, since a file that is renamed waits for the disk.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from phaita_loader._transfer.segments import Span, spans_with
from phaita_loader.listing import RemoteFile

__all__ = ["FORMAT", "NAME", "Record", "note", "read"]

NAME = "record.jsonl"
FORMAT = 2
_SENSELESS = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Record:
    """Ranges that were written, and those of them that the disk has."""

    written: tuple[Span, ...] = ()
    synced: tuple[Span, ...] = ()

    @property
    def size(self) -> int:
        """Bytes written."""
        return sum(end - start for start, end in self.written)


def note(folder: Path, file: RemoteFile, record: Record) -> None:
    """Add a line to the record in a partial's folder. Raises OSError."""
    line = {
        "format": FORMAT,
        "size": file.size,
        "digest": file.digest,
        "synced": record.synced,
        "written": record.written,
        "boot": _BOOT,
    }
    with FileIO(folder / NAME, "a") as lines:
        lines.write(b"\n%b\n" % json.dumps(line).encode("ascii"))  # the line before may be torn


def read(folder: Path, file: RemoteFile) -> Record:
    """What the last whole line claims; nothing where it is foreign or claims more than there is."""
    try:
        length = (folder / "data").stat().st_size
        lines = (folder / NAME).read_bytes().splitlines(keepends=True)
    except OSError:
        return Record()
    for line in reversed(lines):
        with suppress(*_SENSELESS):  # torn by a power cut, or not ours
            if line.endswith(b"\n"):
                return _checked(json.loads(line), file, length)
    return Record()


def _checked(line: Any, file: RemoteFile, length: int) -> Record:
    if (line["format"], line["size"], line["digest"]) != (FORMAT, file.size, file.digest):
        return Record()
    synced = _spans(line["synced"], min(file.size, length))
    if _BOOT is None or line["boot"] != _BOOT:
        return Record(synced, synced)
    return Record(_spans(line["written"], min(file.size, length)), synced)


def _spans(claimed: Any, length: int) -> tuple[Span, ...]:
    spans: tuple[Span, ...] = ()
    for start, end in claimed:
        if not 0 <= int(start) < int(end) <= length:
            return ()
        spans = spans_with(spans, int(start), int(end))
    return spans


def _boot() -> str | None:
    """What this start of the machine is called; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


_BOOT = _boot()
