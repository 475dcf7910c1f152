"""What a fetch leaves, and what it would bring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phaita_loader.errors import Attempt
from phaita_loader.listing import RemoteFile
from phaita_loader.request import ModelRequest

__all__ = ["Planned", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete set of files of one commit in the cache; `attempts` are those that failed on the way.

    `endpoint`: which one named the commit and the digests; None where the cache alone did.
    """

    path: Path
    commit: str
    files: tuple[RemoteFile, ...]
    request: ModelRequest
    attempts: tuple[Attempt, ...] = ()
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What `fetch` would do. `cached` are the files that are there and right, `present` counts bytes of the others."""

    commit: str
    files: tuple[RemoteFile, ...]
    cached: tuple[RemoteFile, ...]
    present: int

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """The files that are to come."""
        return tuple(file for file in self.files if file not in self.cached)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def to_come(self) -> int:
        """Bytes that are still to be received."""
        return sum(file.size for file in {file.digest: file for file in self.missing}.values()) - self.present
