"""File operations on a disk that may be nearly full, slow, or two disks."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from io import BytesIO, FileIO
from pathlib import Path

__all__ = ["move", "sync", "try_rename", "write_all"]


def write_all(data: FileIO | BytesIO, rest: memoryview) -> None:
    """Write all bytes: a disk that is nearly full takes a part, and reports an error only for the next write."""
    while rest:
        rest = rest[data.write(rest) :]


def sync(descriptor: int) -> None:
    """Wait until the disk has the file's data."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def move(path: Path, blob: Path) -> None:
    """Replace the blob in one step, even from another disk. Raises OSError."""
    try:
        path.replace(blob)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        near = blob.with_name(f"{path.parent.name}-{secrets.token_hex(4)}.incomplete")
        try:
            shutil.copyfile(path, near)
            with near.open("rb") as copied:
                sync(copied.fileno())
            near.replace(blob)
        finally:
            near.unlink(missing_ok=True)
        path.unlink()


def try_rename(old: Path, new: Path) -> bool:
    """Rename the folder; return False where that failed."""
    try:
        old.rename(new)
    except OSError:  # another process was faster, or Windows still has it open
        return False
    return True
