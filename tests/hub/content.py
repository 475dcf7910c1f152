"""The content of the local Hub: repos, their commits and the digests that the live Hub computes for them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import BinaryIO

LFS_SUFFIXES = frozenset({".bin", ".h5", ".model", ".msgpack", ".onnx", ".pt", ".safetensors", ".tflite"})
LFS_THRESHOLD = 1 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """One version of one file: its bytes (in memory or on disk), its size and the digests that name it.

    `oid` is the git sha1: of the content, or of the LFS pointer when `sha256` is set.
    """

    source: bytes | Path = field(repr=False)
    size: int
    oid: str
    sha256: str | None = None

    @property
    def digest(self) -> str:
        """The digest that names the file in a cache: the sha256 of an LFS file, else the git sha1."""
        return self.sha256 or self.oid

    @property
    def pointer_size(self) -> int:
        """Length of the LFS pointer that git holds in place of the content."""
        return len(_pointer(self.sha256 or "", self.size))

    def open(self) -> BinaryIO:
        """The content, for reading in pieces."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    def read(self) -> bytes:
        """The whole content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class Commit:
    """All files of one commit, by path inside the repo; a `Path` value is streamed from disk."""

    files: Mapping[str, bytes | Path]
    title: str = "Update files"
    date: str = "2024-01-01T00:00:00.000Z"

    def __post_init__(self) -> None:
        for path in self.files:
            _check_path(path)


@dataclass(frozen=True)
class Snapshot:
    """A commit with its sha and its blobs computed."""

    sha: str
    title: str
    date: str
    files: Mapping[str, Blob]


@dataclass(frozen=True)
class Repo:
    """A model repo: commits (oldest first), branches in `refs` and `tags`, each naming a commit by index or by sha.

    `gated` and `private` are the live Hub's words. `info` holds further fields of the model info (tags, pipeline_tag).
    A file is LFS when its suffix is in `lfs_suffixes` or its size reaches `lfs_threshold` bytes. Model info names the
    first `info_limit` files only, as the live Hub does with huge repos; the tree has them all.
    """

    repo_id: str
    commits: Sequence[Commit]
    refs: Mapping[str, int | str] = field(default_factory=lambda: {"main": -1})
    tags: Mapping[str, int | str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    info: Mapping[str, object] = field(default_factory=dict)
    lfs_suffixes: frozenset[str] = LFS_SUFFIXES
    lfs_threshold: int = LFS_THRESHOLD
    info_limit: int | None = None
    snapshots: tuple[Snapshot, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_repo_id(self.repo_id)
        if not self.commits:
            raise ValueError(f"repo {self.repo_id!r} needs at least one commit")
        object.__setattr__(self, "snapshots", self._history())
        object.__setattr__(self, "refs", self._resolved(self.refs))
        object.__setattr__(self, "tags", self._resolved(self.tags))

    @property
    def shas(self) -> tuple[str, ...]:
        """The commit shas, oldest first."""
        return tuple(snapshot.sha for snapshot in self.snapshots)

    def snapshot(self, revision: str = "main") -> Snapshot:
        """The commit that a branch, a tag or a full sha names; KeyError when none does."""
        sha = self.refs.get(revision, self.tags.get(revision, revision))
        return {snapshot.sha: snapshot for snapshot in self.snapshots}[str(sha)]

    def files(self, revision: str = "main") -> Mapping[str, Blob]:
        """Path -> Blob at a revision."""
        return self.snapshot(revision).files

    def size(self, revision: str = "main") -> int:
        """Bytes of all files at a revision."""
        return sum(blob.size for blob in self.files(revision).values())

    def _history(self) -> tuple[Snapshot, ...]:
        history: list[Snapshot] = []
        for commit in self.commits:
            files = {path: self._blob(path, commit.files[path]) for path in sorted(commit.files)}
            sha = _commit_sha(self.repo_id, history[-1].sha if history else "", commit, files)
            history.append(Snapshot(sha, commit.title, commit.date, MappingProxyType(files)))
        return tuple(history)

    def _blob(self, path: str, source: bytes | Path) -> Blob:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size < self.lfs_threshold and PurePosixPath(path).suffix not in self.lfs_suffixes:
            return Blob(source, size, _digest(source, "sha1", b"blob %d\0" % size))
        sha256 = _digest(source, "sha256", b"")
        return Blob(source, size, git_sha1(_pointer(sha256, size)), sha256)

    def _resolved(self, refs: Mapping[str, int | str]) -> Mapping[str, str]:
        try:
            named = {name: self.shas[at] if isinstance(at, int) else at for name, at in refs.items()}
        except IndexError:
            raise ValueError(f"repo {self.repo_id!r} has {len(self.shas)} commits: {dict(refs)}") from None
        unknown = sorted(set(named.values()) - set(self.shas))
        if unknown:
            raise ValueError(f"repo {self.repo_id!r} has no commit {', '.join(unknown)}")
        return MappingProxyType(named)


def git_sha1(content: bytes) -> str:
    """The object id that git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _commit_sha(repo_id: str, parent: str, commit: Commit, files: Mapping[str, Blob]) -> str:
    lines = [repo_id, parent, commit.title, commit.date, *(f"{blob.oid} {path}" for path, blob in files.items())]
    return hashlib.sha1("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def _digest(source: bytes | Path, algorithm: str, prefix: bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.new(algorithm, prefix + source, usedforsecurity=False).hexdigest()
    stat = source.stat()
    return _file_digest(source, stat.st_size, stat.st_mtime_ns, algorithm, prefix)


@lru_cache(maxsize=1024)
def _file_digest(path: Path, _size: int, _mtime_ns: int, algorithm: str, prefix: bytes) -> str:
    running = hashlib.new(algorithm, prefix, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return running.hexdigest()


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts) or "\\" in path:
        raise ValueError(f"not a path inside a repo: {path!r}")


def _check_repo_id(repo_id: str) -> None:
    parts = repo_id.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not a repo id: {repo_id!r} (name or org/name)")
