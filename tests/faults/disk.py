"""The harness's own check of a contender's cache: no outcome counts before the bytes are verified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.hub import Blob, Repo

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Cache:
    """The content of a cache: the defects, a sentence each; bytes of all snapshots; commit -> paths."""

    wrong: tuple[str, ...]
    size: int
    snapshots: Mapping[str, frozenset[str]]

    def lacking(self, repo: Repo, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Files of a commit that match a pattern and are not in its snapshot; of the commit that lacks the fewest."""
        known = {commit: paths for commit, paths in self.snapshots.items() if commit in repo.shas}
        gaps = [sorted(_needed(repo, commit, patterns) - paths) for commit, paths in known.items()]
        smallest = min(gaps or [sorted(_needed(repo, "main", patterns))], key=len)
        return tuple(smallest)


def _needed(repo: Repo, revision: str, patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(path for path in repo.files(revision) if any(fnmatch(path, pattern) for pattern in patterns))


def look(hf_home: Path, repo: Repo) -> Cache:
    """Compare every snapshot file and every blob of the repo with the repo's own bytes."""
    folder = hf_home / "hub" / f"models--{repo.repo_id.replace('/', '--')}"
    wrong = [sentence for blob in _files(folder / "blobs") for sentence in _check_blob(blob, repo)]
    size, snapshots = 0, {}
    for snapshot in sorted((folder / "snapshots").glob("*")):
        files = {file.relative_to(snapshot).as_posix(): file for file in _files(snapshot)}
        for path, file in files.items():
            wrong += _check(file, f"snapshots/{path}", _blob(repo, snapshot.name, path))
            size += file.stat().st_size if file.exists() else 0
        snapshots[snapshot.name] = frozenset(files)
    return Cache(tuple(wrong), size, snapshots)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _blob(repo: Repo, commit: str, path: str) -> Blob | None:
    return repo.files(commit).get(path) if commit in repo.shas else None


def _check_blob(file: Path, repo: Repo) -> list[str]:
    """A blob under its final name is taken for whole by every client; a partial one has a suffix."""
    known = {blob.digest: blob for sha in repo.shas for blob in repo.files(sha).values()}
    partial = file.suffix == ".incomplete"
    return [] if partial else _check(file, f"blobs/{file.name[:12]}", known.get(file.name))


def _check(file: Path, name: str, blob: Blob | None) -> list[str]:
    if blob is None:
        return [f"{name} is no file of the repo"]
    if not file.exists():
        return [f"{name} is a dangling link"]
    if file.stat().st_size != blob.size:
        return [f"{name} has {file.stat().st_size} bytes of {blob.size}"]
    return [] if _digest(file, blob) == blob.digest else [f"{name} has other bytes than the repo"]


def _digest(file: Path, blob: Blob) -> str:
    """The digest that names the blob: sha256 of an LFS file, else git's sha1."""
    running = hashlib.sha256() if blob.sha256 else hashlib.sha1(b"blob %d\0" % blob.size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            running.update(chunk)
    return running.hexdigest()
