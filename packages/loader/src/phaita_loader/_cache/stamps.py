"""The memory of which files were digested: a stamp of size and mtime for each.

A file whose stamp still fits need not be digested again. Bit rot, which changes neither, shows only in verify="full".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["has_stamp", "write_stamp"]


def write_stamp(stamp: Path, file: Path, before: os.stat_result) -> None:
    """Remember that the file was digested: at `stamp`, or in the user's cache folder where that can't be written.

    `before` is the file's status when digesting began: one that changed meanwhile gets no stamp.
    """
    text = _text(before)
    if text != _text(file.stat()):
        return
    # One stamp is enough; the second place is for a cache that can't be written.
    for path in _candidates(stamp):
        with suppress(OSError):
            _write(path, text)
            return


def has_stamp(stamp: Path, file: Path) -> bool:
    """True if the file is, by size and mtime, the one that was digested."""
    text = _text(file.stat())
    for path in _candidates(stamp):
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text(encoding="ascii") == text:
                return True
    return False


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def _text(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _candidates(stamp: Path) -> Iterator[Path]:
    """Yield the stamp's places: beside the blobs, then in this user's own folder, for a read-only cache."""
    yield stamp
    # The user's folder is found as huggingface_hub finds its own.
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # Path's raises without a home
    folder = hashlib.sha256(os.fsencode(stamp.parent.absolute())).hexdigest()[:32]
    yield Path(base, "phaita-loader", "stamps", folder, stamp.name)
