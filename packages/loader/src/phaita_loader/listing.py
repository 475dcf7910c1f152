"""What a commit holds, as values: paths, sizes and digests, checked as they come in from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from phaita_loader.errors import Corrupt

__all__ = ["Algorithm", "Listing", "RemoteFile", "is_safe", "listed_commit", "listed_file"]

Algorithm: TypeAlias = Literal["sha256", "git-sha1"]

_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "git-sha1": re.compile(r"[0-9a-f]{40}")}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a commit: its path in the repo, its size in bytes, and its digest, which names its blob."""

    path: str
    size: int
    digest: str
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one commit."""

    commit: str
    files: tuple[RemoteFile, ...]


def listed_commit(commit: Any) -> str:
    """The commit's 40 hex digits. Raises Corrupt."""
    if isinstance(commit, str) and _HEX["git-sha1"].fullmatch(commit):
        return commit
    raise Corrupt("the Hub's answer names no commit")


def listed_file(path: Any, size: Any, blob: Any, sha256: Any = None) -> RemoteFile:
    """One row of a listing. `blob` is the git blob's sha1, `sha256` the content's where it is stored by LFS.

    Raises Corrupt for a path that could leave its folder, and where size or digest make no sense.
    """
    if not isinstance(path, str) or not is_safe(path):
        raise Corrupt(f"the Hub lists a path that can't be a file's: {path!r}")
    digest, algorithm = (blob, "git-sha1") if sha256 is None else (sha256, "sha256")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Corrupt(f"the Hub lists no size for {path}")
    if not isinstance(digest, str) or not _HEX[algorithm].fullmatch(digest):
        raise Corrupt(f"the Hub lists no digest for {path}")
    return RemoteFile(path, size, digest, "git-sha1" if sha256 is None else "sha256")


def is_safe(path: str) -> bool:
    """Whether a path stays below the snapshot's folder on every system, Windows' drives and streams included."""
    # Half a character (a lone surrogate) can be said in JSON and is no file's name.
    odd = re.search(r"[\\:\x00-\x1f\ud800-\udfff]", path)
    return odd is None and not any(part in {"", ".", ".."} for part in path.split("/"))
