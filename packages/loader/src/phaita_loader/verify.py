"""The last look before a model is built: every file is whole, right, and belongs to the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from phaita_loader._cache.repo import RepoCache, Verify
from phaita_loader._weight_files import safetensors_entries, shards
from phaita_loader.errors import Corrupt
from phaita_loader.fetch import Snapshot

__all__ = ["VerifiedSnapshot", "verify"]


@dataclass(frozen=True, slots=True)
class VerifiedSnapshot:
    """A snapshot whose sizes, digests, safetensors headers and shards were checked."""

    snapshot: Snapshot

    @property
    def path(self) -> Path:
        """The snapshot's folder."""
        return self.snapshot.path


def verify(
    snapshot: Snapshot, cache_dir: Path, how: Verify = "auto", check: Callable[[], None] = lambda: None
) -> VerifiedSnapshot:
    """Check a snapshot in the cache below `cache_dir`; digests as far as `how` asks.

    `check` is called now and then meanwhile, and ends it by raising. Raises Corrupt.
    """
    try:
        _check(snapshot, RepoCache(cache_dir, snapshot.request.repo_id, check), how)
    except Corrupt as error:
        error.filled(request=snapshot.request, hint=_AGAIN)
        raise
    return VerifiedSnapshot(snapshot)


_AGAIN = "run `phaita-loader fetch` for the repo once more: it replaces what is wrong"


def _check(snapshot: Snapshot, cache: RepoCache, how: Verify) -> None:
    names = {file.path for file in snapshot.files}
    for file in snapshot.files:
        shown = snapshot.path / file.path
        if not (cache.holds(file, how) and cache.shows(snapshot.commit, file, how)):
            raise Corrupt(f"{file.path} is not the file that the Hub lists")
        if file.path.endswith(".safetensors"):
            safetensors_entries(shown)
        if file.path.endswith(".index.json") and not _is_partly(snapshot):
            beside = {PurePosixPath(file.path).with_name(name).as_posix() for name in shards(shown)}
            if lost := beside - names:
                raise Corrupt(f"{file.path} names shards that the repo lacks: {', '.join(sorted(lost))}")


def _is_partly(snapshot: Snapshot) -> bool:
    """Whether the caller's own globs chose the files: what an index names may have been left out on purpose."""
    return snapshot.request.allow_patterns is not None or bool(snapshot.request.ignore_patterns)
