"""A request becomes a snapshot: what is cached and right stays, what is missing comes, and all of it is one commit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from phaita_loader._bounded import bounded
from phaita_loader._cache import RepoCache, Verify
from phaita_loader._classify import advice, storage_failure, too_large
from phaita_loader._crew import bring
from phaita_loader._partial import clean, present
from phaita_loader._route import Route
from phaita_loader._stock import Cached, Stock
from phaita_loader.errors import Attempt, Corrupt, DeadlineExceeded, LoaderError, NotFound, StorageError, Unreachable
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing, RemoteFile, clashing
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Done, Listener, Plan, bar, silent
from phaita_loader.request import ModelRequest, may_need
from phaita_loader.retry import SYSTEM, Clock, Transient, persist

__all__ = ["Planned", "Snapshot", "fetch", "plan"]

logger = logging.getLogger("phaita_loader")

_GLANCE = 4.0
"""Seconds that it is worth asking the Hub whether a branch moved that the cache has."""

_RESTARTS = 5  # times that another tool may delete what was brought
_ROOM = "free some space, or set HF_HOME to a disk that has it"
_GO_ON = "what arrived is kept: the same call goes on from there"


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
    with bar() if listen is None else _given(listen) as shown:
        job = _job(request, hub, policy, verify, shown, clock, deadline)
        with _explained(job):
            return job.run()


def plan(
    request: ModelRequest | str,
    *,
    hub: Hub | None = None,
    policy: Policy | None = None,
    verify: Verify = "auto",
    clock: Clock = SYSTEM,
) -> Planned:
    """What `fetch` would bring, how large that is, and what of it is cached; nothing is downloaded.

    Offline it is what the cache knows. Raises what `fetch` raises.
    """
    job = _job(request, hub, policy, verify, silent, clock, None)
    with _explained(job):
        return job.plan()


@contextmanager
def _given(listen: Listener) -> Iterator[Listener]:
    yield listen


@contextmanager
def _explained(job: _Fetch) -> Iterator[None]:
    """Every error says what was asked for and what a person can do."""
    asked, begin = job.request, job.clock.now()
    try:
        yield
    except LoaderError as error:
        hint = advice(error, asked.repo_id, asked.revision, job.hub.cache_dir)
        error.filled(request=asked, elapsed=job.clock.now() - begin, hint=hint)
        raise
    except OSError as error:
        raise storage_failure(error, job.cache.folder).filled(request=asked) from error
    except KeyboardInterrupt as stop:
        stop.add_note(_GO_ON)
        raise


def _job(
    request: ModelRequest | str,
    hub: Hub | None,
    policy: Policy | None,
    verify: Verify,
    listen: Listener,
    clock: Clock,
    deadline: Deadline | None,
) -> _Fetch:
    asked = ModelRequest(request) if isinstance(request, str) else request
    if verify not in {"auto", "full", "size"}:
        raise ValueError(f"verify must be one of auto, full, size; got {verify!r}")
    hub, policy = hub or Hub(), policy or Policy()
    ends = deadline or Deadline.after(policy.deadline, clock.now())

    def check() -> None:
        if ends.passed(clock.now()):
            raise DeadlineExceeded("the deadline came while cached files were read")

    stock = Stock(asked, hub, RepoCache(hub.cache_dir, asked.repo_id, check), verify)
    return _Fetch(asked, hub, policy, stock, listen, clock, ends)


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
    stock: Stock
    listen: Listener
    clock: Clock
    deadline: Deadline

    @property
    def cache(self) -> RepoCache:
        return self.stock.cache

    def run(self) -> Snapshot:
        cached = self._cached()
        complete = cached if cached and cached.files and not cached.missing else None
        if self.hub.offline and not complete:
            raise self.stock.lacking(cached)
        if complete and (self.hub.offline or (self.request.pinned and complete.known)):
            return self._snapshot(Listing(complete.commit, complete.files), complete.files)
        listing, attempts = (self._glance(complete), ()) if complete else self._list()
        if complete and listing.commit == complete.commit and self.stock.chosen(listing) == complete.files:
            return self._snapshot(listing, complete.files)
        return self._download(listing, attempts)

    def plan(self) -> Planned:
        commit = self._commit()
        kept = self.cache.kept(commit) if commit and (self.request.pinned or self.hub.offline) else None
        if kept is None and self.hub.offline:
            raise self.stock.lacking(self._cached())
        listing = kept or self._list()[0]
        files = self._chosen(listing)
        wrong = self.stock.wrong(files)
        lost = {file.digest for file in wrong}
        had = present(self.cache.ours, wrong)
        return Planned(listing.commit, files, tuple(file for file in files if file.digest not in lost), had)

    def _commit(self) -> str | None:
        return self.request.revision if self.request.pinned else self.cache.commit_of(self.request.revision)

    def _cached(self) -> Cached | None:
        commit = self._commit()
        return self.stock.of(commit) if commit else None

    def _glance(self, cached: Cached) -> Listing:
        """Whether a cached branch moved: one try, a short one. Without an answer what is cached will do."""
        now = self.clock.now()
        try:
            # The model is still to be built before the deadline.
            return self._ask(Deadline.after(min(_GLANCE, self.deadline.remaining(now) / 2), now))
        except (Transient, Unreachable) as failure:
            told = "%s: %s; using the cached commit %s"
            logger.warning(told, self.request.repo_id, failure.cause, cached.commit[:12])
            return Listing(cached.commit, cached.files)

    def _list(self) -> tuple[Listing, tuple[Attempt, ...]]:
        return persist("listing", self._ask, **self._patience())

    def _ask(self, until: Deadline) -> Listing:
        left = until.remaining(self.clock.now())
        timeout = max(0.001, min(self.policy.connect, left))
        try:
            keep = may_need if self.request.allow_patterns is None else None
            ask = partial(self.hub.listing, self.request.repo_id, self.request.revision, timeout=timeout, keep=keep)
            listing = bounded(ask, left)
        except TimeoutError as error:
            raise Transient(f"the Hub gave no listing within {left:.1f} s") from error
        if self.request.pinned and listing.commit != self.request.revision:
            raise Corrupt(f"the Hub answered for another commit, {listing.commit[:12]}")
        return listing

    def _chosen(self, listing: Listing) -> tuple[RemoteFile, ...]:
        files = self.stock.chosen(listing)
        if not files:
            raise NotFound(f"the repo has no files for kind {self.request.kind!r}", hint="name them by allow_patterns")
        return files

    def _download(self, listing: Listing, attempts: tuple[Attempt, ...]) -> Snapshot:
        files = self._chosen(listing)
        missing = self.stock.wrong(files)
        self._refuse_what_cant_come(listing.commit, missing)
        self.cache.prepare(listing.commit)
        if self.cache.folds_case and (pair := clashing(files)):
            raise StorageError(f"{pair[0]} and {pair[1]} are one name on this disk", hint="leave one out by its name")
        for _ in range(_RESTARTS):
            if missing:
                attempts += self._transfer(listing.commit, missing)
            missing = self._shown(listing.commit, files)
            if not missing:
                break
            self.cache.prepare(listing.commit)
        else:
            raise StorageError("files of the snapshot were deleted again and again")
        if listing.complete:
            self.cache.keep(listing)
        if not self.request.pinned:
            self.cache.set_ref(self.request.revision, listing.commit)
        self.listen(Done(listing.commit))
        return self._snapshot(listing, files, attempts)

    def _refuse_what_cant_come(self, commit: str, missing: tuple[RemoteFile, ...]) -> None:
        """Before a byte: no space for it, or a file that the Hub does not give by HTTP."""
        refusal = too_large(missing, self.request.repo_id, commit, self.hub.cache_dir)
        lack = sum(file.size for file in missing) - present(self.cache.ours, missing) - self.cache.free_bytes
        if lack > 0:
            hint = _ROOM if refusal is None else f"{_ROOM}\n{refusal.hint}"
            raise StorageError(f"{self.cache.folder} has {lack / 1e6:.0f} MB too little space", hint=hint)
        if refusal is not None:
            raise refusal

    def _shown(self, commit: str, files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
        """Show the files under their names; those that another tool deleted meanwhile are to come once more."""
        gone = {}
        for file in files:
            try:
                self.cache.link(commit, file, self.stock.verify)
                (self.cache.snapshot(commit) / file.path).stat()
            except FileNotFoundError:
                gone[file.digest] = file
        return tuple(gone.values())

    def _transfer(self, commit: str, missing: tuple[RemoteFile, ...]) -> tuple[Attempt, ...]:
        clean(self.cache.ours, {file.digest for file in missing})
        total, had = sum(file.size for file in missing), present(self.cache.ours, missing)
        self.listen(Plan(self.request.repo_id, len(missing), total, had))
        route = Route(self.hub, self.cache, commit, self.policy, self.stock.verify, self.listen, self.clock)
        _, attempts = persist("transfer", lambda until: bring(missing, route, until, self.deadline), **self._patience())
        return attempts

    def _patience(self) -> _Patience:
        subject = f"{self.request.repo_id}: "
        return _Patience(
            policy=self.policy, deadline=self.deadline, clock=self.clock, listen=self.listen, subject=subject
        )

    def _snapshot(
        self, listing: Listing, files: tuple[RemoteFile, ...], attempts: tuple[Attempt, ...] = ()
    ) -> Snapshot:
        folder = self.cache.snapshot(listing.commit)
        return Snapshot(folder, listing.commit, files, self.request, attempts, listing.endpoint)
