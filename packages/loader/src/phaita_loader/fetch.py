"""A request becomes a snapshot: what is cached and right stays, what is missing comes, and all of it is one commit."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from phaita_loader._bounded import bounded
from phaita_loader._cache import RepoCache, Verify
from phaita_loader._classify import advice, storage_failure
from phaita_loader._crew import bring
from phaita_loader._partial import present
from phaita_loader._route import Route
from phaita_loader._weights import shards
from phaita_loader.errors import (
    Attempt,
    Corrupt,
    LoaderError,
    NotCached,
    NotFound,
    StorageError,
)
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Done, Listener, Plan, bar
from phaita_loader.request import ModelRequest, needed
from phaita_loader.retry import SYSTEM, Clock, Transient, persist

__all__ = ["Snapshot", "fetch"]

logger = logging.getLogger("phaita_loader")

_GLANCE = 4.0
"""Seconds that it is worth asking the Hub whether a branch moved that the cache has."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete set of files of one commit in the cache; `attempts` are those that failed on the way."""

    path: Path
    commit: str
    files: tuple[RemoteFile, ...]
    request: ModelRequest
    attempts: tuple[Attempt, ...] = ()


def fetch(
    request: ModelRequest | str,
    *,
    hub: Hub | None = None,
    policy: Policy | None = None,
    verify: Verify = "auto",
    listen: Listener | None = None,
    clock: Clock = SYSTEM,
    deadline: Deadline | None = None,
) -> Snapshot:
    """Bring the files of a request into the standard Hugging Face cache and say where they are.

    No request is made for a pinned commit that is cached; one, for 4 s at most, for a branch that is. `verify` says
    how far cached files are trusted: "auto" digests what was not digested as it is now, "full" all, "size" none.
    `listen` gets the events of `phaita_loader.progress` (default: a bar where stderr is a terminal). `deadline` is an
    instant on `clock` that stands in for the policy's.

    Raises ModelDownloadError (its subclasses say what failed), and ValueError for a request that can't be meant.
    """
    asked = ModelRequest(request) if isinstance(request, str) else request
    if verify not in {"auto", "full", "size"}:
        raise ValueError(f"verify must be one of auto, full, size; got {verify!r}")
    policy, hub, begin = policy or Policy(), hub or Hub(), clock.now()
    with ExitStack() as stack:
        shown = listen or stack.enter_context(bar())
        job = _Fetch(asked, hub, policy, verify, shown, clock, deadline or Deadline.after(policy.deadline, begin))
        try:
            return job.run()
        except LoaderError as error:
            hint = advice(error, asked.repo_id, asked.revision, hub.cache_dir)
            error.filled(request=asked, elapsed=clock.now() - begin, hint=hint)
            raise
        except OSError as error:
            raise storage_failure(error, job.cache.folder).filled(request=asked) from error


@dataclass(frozen=True, slots=True)
class _Cached:
    """What the cache has of a commit. `known`: by a listing that was kept, not only by what lies there."""

    commit: str
    files: tuple[RemoteFile, ...]
    missing: tuple[str, ...]
    known: bool


class _Patience(TypedDict):
    policy: Policy
    deadline: Deadline
    clock: Clock
    listen: Listener
    subject: str


@dataclass(frozen=True, slots=True)
class _Fetch:
    request: ModelRequest
    hub: Hub
    policy: Policy
    verify: Verify
    listen: Listener
    clock: Clock
    deadline: Deadline

    @property
    def cache(self) -> RepoCache:
        return RepoCache(self.hub.cache_dir, self.request.repo_id)

    def run(self) -> Snapshot:
        commit = self.request.revision if self.request.pinned else self.cache.commit_of(self.request.revision)
        cached = self._cached(commit) if commit else None
        complete = cached if cached and cached.files and not cached.missing else None
        if self.hub.offline and not complete:
            raise self._not_cached(cached)
        if complete and (self.hub.offline or (self.request.pinned and complete.known)):
            return self._snapshot(complete.commit, complete.files, ())
        listing, attempts = (self._glance(complete), ()) if complete else self._list()
        if complete and listing.commit == complete.commit and self._chosen(listing) == complete.files:
            return self._snapshot(complete.commit, complete.files, ())
        return self._download(listing, attempts)

    def _cached(self, commit: str) -> _Cached:
        kept = self.cache.kept(commit)
        listing = kept or self.cache.found(commit)
        files = self._chosen(listing)
        folder, shows = self.cache.snapshot(commit), self.cache.shows
        wrong = {file.digest for file in self._wrong(files)}
        missing = [file.path for file in files if file.digest in wrong or not shows(commit, file, self.verify)]
        if kept is None:
            right = [file for file in files if file.path not in missing]
            missing += _absent_shards(folder, right) if files else ["the weights or the tokenizer"]
        return _Cached(commit, files, tuple(missing), known=kept is not None)

    def _glance(self, cached: _Cached) -> Listing:
        """Whether a cached branch moved: one try, a short one. Without an answer what is cached will do."""
        try:
            return self._ask(Deadline.after(_GLANCE, self.clock.now()).earlier(self.deadline))
        except Transient as failure:
            told = "%s: %s; using the cached commit %s"
            logger.warning(told, self.request.repo_id, failure.cause, cached.commit[:12])
            return Listing(cached.commit, cached.files)

    def _list(self) -> tuple[Listing, tuple[Attempt, ...]]:
        return persist("listing", self._ask, **self._patience())

    def _ask(self, until: Deadline) -> Listing:
        left = until.remaining(self.clock.now())
        timeout = max(0.001, min(self.policy.connect, left))
        try:
            ask = partial(self.hub.listing, self.request.repo_id, self.request.revision, timeout=timeout)
            listing = bounded(ask, left)
        except TimeoutError as error:
            raise Transient(f"the Hub gave no listing within {left:.1f} s") from error
        if self.request.pinned and listing.commit != self.request.revision:
            raise Corrupt(f"the Hub answered for another commit, {listing.commit[:12]}")
        return listing

    def _download(self, listing: Listing, attempts: tuple[Attempt, ...]) -> Snapshot:
        files = self._chosen(listing)
        if not files:
            raise NotFound(f"the repo has no files for kind {self.request.kind!r}", hint="name them by allow_patterns")
        self.cache.prepare(listing.commit)
        missing = self._wrong(files)
        if missing:
            attempts += self._transfer(listing.commit, missing)
        for file in files:
            self.cache.link(listing.commit, file, self.verify)
        self.cache.keep(listing)
        if not self.request.pinned:
            self.cache.set_ref(self.request.revision, listing.commit)
        self.listen(Done(listing.commit))
        return self._snapshot(listing.commit, files, attempts)

    def _transfer(self, commit: str, missing: tuple[RemoteFile, ...]) -> tuple[Attempt, ...]:
        total, had = sum(file.size for file in missing), sum(present(self.cache.ours, file) for file in missing)
        lack = total - had - shutil.disk_usage(self.cache.folder).free
        if lack > 0:
            raise StorageError(f"{self.cache.folder} has {lack / 1e6:.0f} MB too little space", hint=_ROOM)
        self.listen(Plan(self.request.repo_id, len(missing), total, had))
        route = Route(self.hub, self.cache, commit, self.policy, self.verify, self.listen, self.clock)
        _, attempts = persist("transfer", lambda until: bring(missing, route, until, self.deadline), **self._patience())
        return attempts

    def _patience(self) -> _Patience:
        subject = f"{self.request.repo_id}: "
        return _Patience(
            policy=self.policy, deadline=self.deadline, clock=self.clock, listen=self.listen, subject=subject
        )

    def _chosen(self, listing: Listing) -> tuple[RemoteFile, ...]:
        paths: Iterable[str] = [file.path for file in listing.files]
        if self.request.allow_patterns is None:
            paths = needed(self.request, paths)
        keep = set(self.hub.select(paths, self.request.allow_patterns, self.request.ignore_patterns))
        return tuple(sorted((file for file in listing.files if file.path in keep), key=lambda file: file.path))

    def _wrong(self, files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
        """The blobs that are absent or not right, each once, small ones first: a wrong configuration shows early."""
        blobs = {file.digest: file for file in files if not self.cache.holds(file, self.verify)}
        return tuple(sorted(blobs.values(), key=lambda file: file.size))

    def _snapshot(self, commit: str, files: tuple[RemoteFile, ...], attempts: tuple[Attempt, ...]) -> Snapshot:
        return Snapshot(self.cache.snapshot(commit), commit, files, self.request, attempts)

    def _not_cached(self, cached: _Cached | None) -> NotCached:
        if cached is None:
            return NotCached("offline mode is on, and nothing of this revision is in the cache")
        if not cached.files and cached.known:
            return NotCached(f"offline mode is on, and the cached commit has no files for kind {self.request.kind!r}")
        names = ", ".join(cached.missing[:5]) + (", ..." if len(cached.missing) > 5 else "")
        return NotCached(f"offline mode is on, and the cache lacks {names}", missing=cached.missing)


_ROOM = "free some space, or set HF_HOME to a disk that has it"


def _absent_shards(folder: Path, files: Iterable[RemoteFile]) -> list[str]:
    """Shards that an index names and the folder lacks."""
    named: set[Path] = set()
    for index in (folder / file.path for file in files if file.path.endswith(".index.json")):
        with suppress(Corrupt):  # another kind of index
            named |= {index.with_name(name) for name in shards(index)}
    return sorted(path.relative_to(folder).as_posix() for path in named if not path.exists())
