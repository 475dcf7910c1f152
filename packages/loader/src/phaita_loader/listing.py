"""The files of a commit, as values: paths, sizes and digests, checked as they come in from outside."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from phaita_loader.errors import Corrupt

__all__ = [
    "MOST_BY_HTTP",
    "SMALL",
    "Algorithm",
    "Listing",
    "RemoteFile",
    "clashing",
    "consistent",
    "is_safe",
    "listed_commit",
    "listed_file",
    "too_long",
]

MOST_BY_HTTP = 50 * 1000**3
"""The largest file in bytes that the Hub serves over plain HTTP."""

SMALL = 1 << 20
"""The largest file in bytes that is kept in memory while it comes, and digested again rather than stamped."""

Algorithm: TypeAlias = Literal["sha256", "git-sha1"]

_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "git-sha1": re.compile(r"[0-9a-f]{40}")}

_LONGEST = 255  # bytes of a name
_ENDLESS = 1 << 63  # bytes; no file system counts further


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a commit: its path in the repo, its size in bytes, and its digest, which names its blob."""

    path: str
    size: int
    digest: str
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one commit.

    endpoint: the one that answered; None where none was asked.
    complete: False where files that the request could not need were left out, so that others may need them.
    """

    commit: str
    files: tuple[RemoteFile, ...]
    endpoint: str | None = field(default=None, compare=False)
    complete: bool = field(default=True, compare=False)


def listed_commit(commit: Any) -> str:
    """Return the commit's 40 hex digits. Raises Corrupt for anything else."""
    if isinstance(commit, str) and _HEX["git-sha1"].fullmatch(commit):
        return commit
    raise Corrupt("the Hub's answer has no commit")


def listed_file(path: Any, size: Any, blob: Any, sha256: Any = None) -> RemoteFile:
    """Return one row of a listing, checked.

    `blob` is the git blob's sha1, `sha256` the content's where it is stored by LFS. Raises Corrupt for a path that
    could leave its folder, and for an invalid size or digest.
    """
    if not isinstance(path, str) or not is_safe(path):
        raise Corrupt(f"the Hub lists an invalid path: {path!r:.200}")
    digest, algorithm = (blob, "git-sha1") if sha256 is None else (sha256, "sha256")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < _ENDLESS:
        raise Corrupt(f"the Hub lists no valid size for {path}")
    if not isinstance(digest, str) or not _HEX[algorithm].fullmatch(digest):
        raise Corrupt(f"the Hub lists no valid digest for {path}")
    return RemoteFile(path, size, digest, "git-sha1" if sha256 is None else "sha256")


def consistent(files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Return the files, each once. Raises Corrupt where one path would have to be two things."""
    found: dict[str, RemoteFile] = {}
    for file in files:
        if found.setdefault(file.path, file) != file:
            raise Corrupt(f"the Hub lists {file.path!r:.200} twice with different content")
    # Else the order of two writes would decide which one a disk ends with.
    for path in found:
        if any(folder in found for folder in _folders(path)):
            raise Corrupt(f"the Hub lists a parent folder of {path!r:.200} as a file")
    return tuple(found.values())


def _folders(path: str) -> Iterator[str]:
    end = path.find("/")
    while end > 0:
        yield path[:end]
        end = path.find("/", end + 1)


def is_safe(path: str, windows: bool = os.name == "nt") -> bool:
    """True if a path stays below the snapshot's folder on every system, Windows' drives and streams included.

    On Windows it must be a valid name there too: `aux.json` is a device, and `x.` is `x`.
    """
    # JSON can hold a lone surrogate; no file system takes it in a name.
    odd = re.search(r"[\\:\x00-\x1f\ud800-\udfff]", path)
    if odd is not None or any(part in {"", ".", ".."} for part in path.split("/")):
        return False
    return not windows or not any(_NOT_ON_WINDOWS.search(part) for part in path.split("/"))


_NOT_ON_WINDOWS = re.compile(
    r'[<>"|?*]|[. ]$|^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)', re.IGNORECASE
)


def clashing(files: Iterable[RemoteFile]) -> tuple[str, str] | None:
    """Return two paths that are the same where the file system ignores case or composition (macOS, Windows), if any."""
    found: dict[str, str] = {}
    for file in files:
        other = found.setdefault(unicodedata.normalize("NFC", file.path.casefold()), file.path)
        if other != file.path:
            return other, file.path
    return None


def too_long(files: Iterable[RemoteFile]) -> str | None:
    """Return a name of more than 255 bytes, which no usual file system takes, if there is one."""
    names = (name for file in files for name in file.path.split("/"))
    return next((name for name in names if len(name.encode()) > _LONGEST), None)
