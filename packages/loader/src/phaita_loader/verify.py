"""The check of a snapshot before a model is built: every file is whole, right, and belongs to the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from phaita_loader._cache.repo import RepoCache
from phaita_loader._weight_files import safetensors_entries, shards
from phaita_loader.errors import Corrupt
from phaita_loader.snapshot import Snapshot, VerifiedSnapshot, Verify

__all__ = ["VerifiedSnapshot", "verify"]

_AGAIN = "run `phaita-loader fetch` for the repo again: it replaces corrupted files"


def verify(
    snapshot: Snapshot, cache_dir: Path, how: Verify = "auto", check: Callable[[], None] = lambda: None
) -> VerifiedSnapshot:
    """Check a snapshot in the cache below `cache_dir`; digests as far as `how` asks.

    `check` is called now and then meanwhile, and ends the verification by raising. Raises Corrupt.
    """
    try:
        _check(snapshot, RepoCache(cache_dir, snapshot.request.repo_id, check), how)
    except Corrupt as error:
        error.filled(request=snapshot.request, hint=_AGAIN)
        raise
    return VerifiedSnapshot(snapshot)


def _check(snapshot: Snapshot, cache: RepoCache, how: Verify) -> None:
    names = {file.path for file in snapshot.files}
    for file in snapshot.files:
        pointer = snapshot.path / file.path
        if not (cache.verify_blob(file, how) and cache.verify_pointer(snapshot.commit, file, how)):
            raise Corrupt(f"{file.path} is not the file that the Hub lists")
        # The digest says that the file is the Hub's, not that the Hub's file is whole.
        if file.path.endswith(".safetensors"):
            safetensors_entries(pointer)
        if file.path.endswith(".index.json") and not _is_filtered(snapshot):
            beside = {PurePosixPath(file.path).with_name(name).as_posix() for name in shards(pointer)}
            if lost := beside - names:
                raise Corrupt(f"{file.path} names shards that the repo lacks: {', '.join(sorted(lost))}")


def _is_filtered(snapshot: Snapshot) -> bool:
    """True if the caller's own globs chose the files: some that an index names may be left out on purpose."""
    return snapshot.request.allow_patterns is not None or bool(snapshot.request.ignore_patterns)
