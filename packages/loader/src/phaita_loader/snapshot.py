"""The results of a fetch, a plan and a verification, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from phaita_loader.errors import Attempt
from phaita_loader.listing import RemoteFile
from phaita_loader.request import ModelRequest

__all__ = ["VERIFY_CHOICES", "Planned", "Snapshot", "VerifiedSnapshot", "Verify"]

Verify: TypeAlias = Literal["auto", "full", "size"]
"""The trust in a cached blob: "auto" until its stamp no longer fits, "full" never, "size" for its size alone."""

VERIFY_CHOICES: tuple[Verify, ...] = get_args(Verify)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete set of files of one commit in the cache.

    attempts: the failed ones, oldest first.
    endpoint: the one that named the commit and the digests; None where the cache alone did.
    """

    path: Path
    commit: str
    files: tuple[RemoteFile, ...]
    request: ModelRequest
    attempts: tuple[Attempt, ...] = ()
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """The work that a `fetch` would have.

    cached: the files that are in the cache and right.
    present: bytes of the other files that earlier calls left in partial files.
    """

    commit: str
    files: tuple[RemoteFile, ...]
    cached: tuple[RemoteFile, ...]
    present: int

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """The files that are still to be downloaded."""
        return tuple(file for file in self.files if file not in self.cached)

    @property
    def total(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def to_come(self) -> int:
        """The bytes that are still to be received."""
        return sum(file.size for file in {file.digest: file for file in self.missing}.values()) - self.present


@dataclass(frozen=True, slots=True)
class VerifiedSnapshot:
    """A snapshot whose sizes, digests, safetensors headers and shards were checked."""

    snapshot: Snapshot

    @property
    def path(self) -> Path:
        """The snapshot's folder."""
        return self.snapshot.path
