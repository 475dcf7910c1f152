"""The meaning of a request now: the listing of its revision, and the files of it that are to be fetched."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from phaita_loader._bounded import bounded
from phaita_loader._cache.inventory import Cached
from phaita_loader.errors import Attempt, Corrupt, Unreachable
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.policy import Deadline
from phaita_loader.request import ModelRequest, may_need, needed
from phaita_loader.retry import Retrying, Transient

__all__ = ["choose_files", "recheck", "resolve"]

logger = logging.getLogger("phaita_loader")

_RECHECK_SECONDS = 4.0  # that it is worth asking the Hub whether a cached branch moved


def resolve(request: ModelRequest, hub: Hub, retrying: Retrying) -> tuple[Listing, tuple[Attempt, ...]]:
    """Return the listing, and the attempts that failed before. Raises ModelDownloadError."""
    return retrying.call("listing", partial(_ask, request, hub, retrying))


def recheck(request: ModelRequest, hub: Hub, retrying: Retrying, cached: Cached) -> Listing:
    """Return the listing of a cached branch by one short request; without an answer, the cached one."""
    now = retrying.clock.now()
    try:
        # Half of the time at most: the model is still to be built before the deadline.
        seconds = min(_RECHECK_SECONDS, retrying.deadline.remaining(now) / 2)
        return _ask(request, hub, retrying, Deadline.after(seconds, now))
    except (Transient, Unreachable) as failure:
        message = "%s: %s; using the cached commit %s"
        logger.warning(message, request.repo_id, failure.cause, cached.commit[:12])
        return Listing(cached.commit, cached.files)


def choose_files(request: ModelRequest, hub: Hub, listing: Listing) -> tuple[RemoteFile, ...]:
    """Return the files of a commit that the request takes, by path."""
    paths: Iterable[str] = [file.path for file in listing.files]
    if request.allow_patterns is None:
        paths = needed(request, paths)
    keep = set(hub.select(paths, request.allow_patterns, request.ignore_patterns))
    return tuple(sorted((file for file in listing.files if file.path in keep), key=lambda file: file.path))


def _ask(request: ModelRequest, hub: Hub, retrying: Retrying, until: Deadline) -> Listing:
    left = until.remaining(retrying.clock.now())
    timeout = max(0.001, min(retrying.policy.connect, left))
    # The caller's globs may name any path.
    keep = may_need if request.allow_patterns is None else None
    try:
        listing = bounded(partial(hub.listing, request.repo_id, request.revision, timeout=timeout, keep=keep), left)
    except TimeoutError as error:
        raise Transient(f"the Hub sent no listing within {left:.1f} s") from error
    # A mirror that ignores the revision would serve another model.
    if request.pinned and listing.commit != request.revision:
        raise Corrupt(f"the Hub answered for another commit than the one requested, {listing.commit[:12]}")
    return listing
