"""The context that all files of one transfer share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from phaita_loader._cache.repo import RepoCache
from phaita_loader.hub import Hub
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Policy
from phaita_loader.progress import Listener, Received
from phaita_loader.retry import Clock, Retrying
from phaita_loader.snapshot import Verify

__all__ = ["Reported", "TransferContext"]


class Reported:
    """The bytes of each file that the listener knows of, by digest."""

    def __init__(self, present: Mapping[str, int] | None = None) -> None:
        self._sizes = dict(present or {})

    def set(self, file: RemoteFile, size: int) -> int:
        """Set the bytes of a file; return the difference to those reported before."""
        difference = size - self._sizes.get(file.digest, 0)
        self._sizes[file.digest] = size
        return difference


@dataclass(slots=True)
class TransferContext:
    """The source and the target of a commit's files, and the policy at work.

    reported: the bytes that earlier calls left, which the listener has been told of.
    """

    hub: Hub
    cache: RepoCache
    commit: str
    retrying: Retrying = field(default_factory=Retrying)
    verify: Verify = "auto"
    reported: Reported = field(default_factory=Reported)

    @property
    def policy(self) -> Policy:
        """The policy of the call."""
        return self.retrying.policy

    @property
    def clock(self) -> Clock:
        """The clock of the call."""
        return self.retrying.clock

    @property
    def listen(self) -> Listener:
        """The listener of the call."""
        return self.retrying.listen

    def report(self, file: RemoteFile, size: int) -> None:
        """Tell the listener the bytes that are there of a file, if they differ from those it knows of."""
        if difference := self.reported.set(file, size):
            self.listen(Received(file.path, difference))
