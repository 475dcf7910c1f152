"""What the cache has of a request: which files it takes, which of them are there and right, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from phaita_loader._cache.repo import RepoCache, Verify
from phaita_loader._weight_files import shards
from phaita_loader.errors import Corrupt, NotCached
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.request import ModelRequest, needed

__all__ = ["Cached", "Stock"]


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache has of a commit. `known`: by a listing that was kept, not only by what lies there."""

    commit: str
    files: tuple[RemoteFile, ...]
    missing: tuple[str, ...]
    known: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """The cache as one call sees it: a blob that it found right is not digested a second time."""

    request: ModelRequest
    hub: Hub
    cache: RepoCache
    verify: Verify
    _right: set[RemoteFile] = field(default_factory=set)

    def chosen(self, listing: Listing) -> tuple[RemoteFile, ...]:
        """The files of a commit that the request takes, by path."""
        request = self.request
        paths: Iterable[str] = [file.path for file in listing.files]
        if request.allow_patterns is None:
            paths = needed(request, paths)
        keep = set(self.hub.select(paths, request.allow_patterns, request.ignore_patterns))
        return tuple(sorted((file for file in listing.files if file.path in keep), key=lambda file: file.path))

    def wrong(self, files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
        """The blobs that are absent or not right, each once, small ones first: a wrong configuration shows early."""
        blobs = {file.digest: file for file in files if not self._holds(file)}
        return tuple(sorted(blobs.values(), key=lambda file: file.size))

    def of(self, commit: str) -> Cached:
        """What is there of this commit."""
        kept = self.cache.kept(commit)
        files = self.chosen(kept or self.cache.found(commit))
        wrong = {file.digest for file in self.wrong(files)}
        shows = self.cache.shows
        missing = [file.path for file in files if file.digest in wrong or not shows(commit, file, self.verify)]
        if kept is None:
            right = [file for file in files if file.path not in missing]
            missing += _absent_shards(self.cache.snapshot(commit), right) if files else ["the weights or the tokenizer"]
        return Cached(commit, files, tuple(missing), known=kept is not None)

    def lacking(self, cached: Cached | None) -> NotCached:
        """The error for a request that needs more than this, offline."""
        if cached is None:
            return NotCached("offline mode is on, and nothing of this revision is in the cache")
        if not cached.files and cached.known:
            return NotCached(f"offline mode is on, and the cached commit has no files for kind {self.request.kind!r}")
        names = ", ".join(cached.missing[:5]) + (", ..." if len(cached.missing) > 5 else "")
        return NotCached(f"offline mode is on, and the cache lacks {names}", missing=cached.missing)

    def _holds(self, file: RemoteFile) -> bool:
        if file not in self._right and self.cache.holds(file, self.verify):
            self._right.add(file)
        return file in self._right


def _absent_shards(folder: Path, files: Iterable[RemoteFile]) -> list[str]:
    """Shards that an index names and the folder lacks."""
    named: set[Path] = set()
    for index in (folder / file.path for file in files if file.path.endswith(".index.json")):
        with suppress(Corrupt):  # another kind of index
            named |= {index.with_name(name) for name in shards(index)}
    return sorted(path.relative_to(folder).as_posix() for path in named if not path.exists())
