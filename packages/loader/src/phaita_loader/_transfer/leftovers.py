"""What earlier calls left of files that did not arrive: folders named by digests, and scraps."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from phaita_loader._transfer.journal import read
from phaita_loader.listing import RemoteFile

__all__ = ["clean", "left_of", "present"]

_SCRAP = re.compile(r"(?P<digest>[0-9a-f]{40}([0-9a-f]{24})?)(\..+)?|(new|link)-\d+-[0-9a-f]+")
_ORPHAN = 14 * 24 * 3600  # seconds after which a partial that nobody asked for again is given up


def clean(folder: Path, wanted: Collection[str]) -> None:
    """Remove what no call has touched for two weeks: partials of other files than the `wanted` digests, and scraps."""
    oldest = time.time() - _ORPHAN
    for found in folder.glob("*"):
        with suppress(OSError):  # another process cleans too
            ours = _SCRAP.fullmatch(found.name)
            if ours and ours["digest"] not in wanted and found.lstat().st_mtime < oldest:
                _remove(found)


def present(folder: Path, files: Iterable[RemoteFile]) -> Counter[str]:
    """Bytes of the files that earlier calls left, by digest."""
    wanted, most = {file.digest: file for file in files}, Counter[str]()
    for found in _folders(folder):
        digest = found.name.partition(".")[0]
        if digest in wanted:
            most[digest] = max(most[digest], read(Path(found), wanted[digest]).size)
    return most


def left_of(folder: Path, file: RemoteFile) -> list[Path]:
    """The folders of one file, whoever wrote in them."""
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
