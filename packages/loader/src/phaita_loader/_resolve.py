"""What a revision means now: asked patiently, or at a glance where the cache would do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from phaita_loader._bounded import bounded
from phaita_loader._cache.inventory import Cached
from phaita_loader.errors import Attempt, Corrupt, Unreachable
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing
from phaita_loader.policy import Deadline
from phaita_loader.request import ModelRequest, may_need
from phaita_loader.retry import Patience, Transient

__all__ = ["Lookup"]

logger = logging.getLogger("phaita_loader")

_GLANCE = 4.0
"""Seconds that it is worth asking the Hub whether a branch moved that the cache has."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Asks the Hub for the listing of one request."""

    request: ModelRequest
    hub: Hub
    patience: Patience

    def glance(self, cached: Cached) -> Listing:
        """Whether a cached branch moved: one try, a short one. Without an answer what is cached will do."""
        now = self.patience.clock.now()
        try:
            # The model is still to be built before the deadline.
            return self._ask(Deadline.after(min(_GLANCE, self.patience.deadline.remaining(now) / 2), now))
        except (Transient, Unreachable) as failure:
            told = "%s: %s; using the cached commit %s"
            logger.warning(told, self.request.repo_id, failure.cause, cached.commit[:12])
            return Listing(cached.commit, cached.files)

    def listing(self) -> tuple[Listing, tuple[Attempt, ...]]:
        """The listing, and the attempts that failed before. Raises ModelDownloadError."""
        return self.patience.persist("listing", self._ask)

    def _ask(self, until: Deadline) -> Listing:
        left = until.remaining(self.patience.clock.now())
        timeout = max(0.001, min(self.patience.policy.connect, left))
        try:
            keep = may_need if self.request.allow_patterns is None else None
            ask = partial(self.hub.listing, self.request.repo_id, self.request.revision, timeout=timeout, keep=keep)
            listing = bounded(ask, left)
        except TimeoutError as error:
            raise Transient(f"the Hub gave no listing within {left:.1f} s") from error
        if self.request.pinned and listing.commit != self.request.revision:
            raise Corrupt(f"the Hub answered for another commit, {listing.commit[:12]}")
        return listing
