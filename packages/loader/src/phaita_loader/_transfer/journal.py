"""The journal of a partial file: a line of JSON for each change of its ranges, of which the last whole one counts.

A line names the ranges that the disk has, which outlive a power cut, and those written since the machine started,
which outlive the process. Lines are appended, since replacing a file by a rename waits for the disk.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from phaita_loader._transfer.ranges import Ranges
from phaita_loader.listing import RemoteFile

__all__ = ["FORMAT", "NAME", "Entry", "append", "read"]

NAME = "record.jsonl"
FORMAT = 2
_MALFORMED = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Entry:
    """The ranges that were written, and those of them that the disk has."""

    written: Ranges = field(default_factory=Ranges)
    synced: Ranges = field(default_factory=Ranges)


def append(folder: Path, file: RemoteFile, entry: Entry) -> None:
    """Append a line to the journal in a partial's folder. Raises OSError."""
    line = {
        "format": FORMAT,
        "size": file.size,
        "digest": file.digest,
        "synced": entry.synced.spans,
        "written": entry.written.spans,
        "boot": _BOOT,
    }
    with FileIO(folder / NAME, "a") as lines:
        lines.write(b"\n%b\n" % json.dumps(line).encode("ascii"))  # the line before may be torn


def read(folder: Path, file: RemoteFile) -> Entry:
    """Return the last whole line; an empty entry where it is another file's or claims more bytes than there are."""
    try:
        length = (folder / "data").stat().st_size
        lines = (folder / NAME).read_bytes().splitlines(keepends=True)
    except OSError:
        return Entry()
    for line in reversed(lines):
        with suppress(*_MALFORMED):  # torn by a power cut, or written by another program
            if line.endswith(b"\n"):
                return _checked(json.loads(line), file, length)
    return Entry()


def _checked(line: Any, file: RemoteFile, length: int) -> Entry:
    if (line["format"], line["size"], line["digest"]) != (FORMAT, file.size, file.digest):
        return Entry()
    synced = _ranges(line["synced"], min(file.size, length))
    # After a restart of the machine only what was synced is sure to be on the disk.
    if _BOOT is None or line["boot"] != _BOOT:
        return Entry(synced, synced)
    return Entry(_ranges(line["written"], min(file.size, length)), synced)


def _ranges(claimed: Any, length: int) -> Ranges:
    ranges = Ranges()
    for start, end in claimed:
        if not 0 <= int(start) < int(end) <= length:
            return Ranges()
        ranges = ranges.add(int(start), int(end))
    return ranges


def _read_boot_id() -> str | None:
    """Return the id of this start of the machine; None where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


_BOOT = _read_boot_id()
