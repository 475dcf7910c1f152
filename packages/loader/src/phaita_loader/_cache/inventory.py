"""The inventory of the cache for a request: the files it takes, the right ones and the missing ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from phaita_loader._cache.repo import RepoCache
from phaita_loader._weight_files import shards
from phaita_loader.errors import Corrupt, NotCached
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.snapshot import Verify

__all__ = ["Cached", "Inventory", "not_cached"]


@dataclass(frozen=True, slots=True)
class Cached:
    """The cached part of a commit.

    has_listing: True if a saved listing names its files; else only the links in the snapshot do.
    """

    commit: str
    files: tuple[RemoteFile, ...]
    missing: tuple[str, ...]
    has_listing: bool


class Inventory:
    """The cache as one call sees it: a blob that was found right is not digested a second time.

    `choose` returns the files of a listing that the request takes.
    """

    def __init__(self, cache: RepoCache, verify: Verify, choose: Callable[[Listing], tuple[RemoteFile, ...]]) -> None:
        self._cache = cache
        self._verify = verify
        self._choose = choose
        self._right: set[RemoteFile] = set()

    def invalid(self, files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
        """Return the files whose blobs are absent or wrong, each blob once.

        Small files come first, so that a wrong configuration shows before gigabytes are fetched.
        """
        blobs = {file.digest: file for file in files if not self._verify_once(file)}
        return tuple(sorted(blobs.values(), key=lambda file: file.size))

    def inspect(self, commit: str) -> Cached:
        """Verify the cached files of a commit, as far as the request takes them."""
        saved = self._cache.saved_listing(commit)
        files = self._choose(saved or self._cache.listing_from_links(commit))
        invalid = {file.digest for file in self.invalid(files)}
        missing = [
            file.path
            for file in files
            if file.digest in invalid or not self._cache.verify_pointer(commit, file, self._verify)
        ]
        # Without a saved listing only the shards of an index show that something is missing.
        if saved is None:
            right = [file for file in files if file.path not in missing]
            folder = self._cache.snapshot(commit)
            missing += _absent_shards(folder, right) if files else ["the weights or the tokenizer"]
        return Cached(commit, files, tuple(missing), has_listing=saved is not None)

    def _verify_once(self, file: RemoteFile) -> bool:
        if file not in self._right and self._cache.verify_blob(file, self._verify):
            self._right.add(file)
        return file in self._right


def not_cached(cached: Cached | None, kind: str) -> NotCached:
    """Return the error for a request of this kind that needs more than is cached, offline."""
    if cached is None:
        return NotCached("offline mode is on, and nothing of this revision is in the cache")
    if not cached.files and cached.has_listing:
        return NotCached(f"offline mode is on, and the cached commit has no files for kind {kind!r}")
    names = ", ".join(cached.missing[:5]) + (", ..." if len(cached.missing) > 5 else "")
    return NotCached(f"offline mode is on, and the cache lacks {names}", missing=cached.missing)


def _absent_shards(folder: Path, files: Iterable[RemoteFile]) -> list[str]:
    """Return the shards that an index names and the folder lacks."""
    named: set[Path] = set()
    for index in (folder / file.path for file in files if file.path.endswith(".index.json")):
        with suppress(Corrupt):  # another kind of index
            named |= {index.with_name(name) for name in shards(index)}
    return sorted(path.relative_to(folder).as_posix() for path in named if not path.exists())
