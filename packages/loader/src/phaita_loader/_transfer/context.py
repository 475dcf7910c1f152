"""From where to where the files of one commit go, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass, field

from phaita_loader._cache.repo import RepoCache, Verify
from phaita_loader.hub import Hub
from phaita_loader.policy import Policy
from phaita_loader.progress import Listener, silent
from phaita_loader.retry import SYSTEM, Clock

__all__ = ["Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """What all files of one transfer share.

    `shown`: by digest, the bytes of each file that the listener was told of before the attempt at it.
    """

    hub: Hub
    cache: RepoCache
    commit: str
    policy: Policy
    verify: Verify = "auto"
    listen: Listener = silent
    clock: Clock = SYSTEM
    shown: dict[str, int] = field(default_factory=dict)
