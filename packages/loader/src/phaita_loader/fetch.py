"""A request becomes a snapshot: what is cached and right stays, what is missing comes, and all of it is one commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from phaita_loader._cache.inventory import Cached, Stock
from phaita_loader._cache.repo import RepoCache, Verify
from phaita_loader._classify import advice, storage_failure, too_large
from phaita_loader._resolve import Lookup
from phaita_loader._transfer.context import Route
from phaita_loader._transfer.leftovers import clean, present
from phaita_loader._transfer.scheduler import bring
from phaita_loader.errors import Attempt, DeadlineExceeded, LoaderError, NotFound, StorageError
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing, RemoteFile, clashing, too_long
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Done, Listener, Plan, bar, silent
from phaita_loader.request import ModelRequest
from phaita_loader.retry import SYSTEM, Clock, Patience
from phaita_loader.snapshot import Planned, Snapshot

__all__ = ["Planned", "Snapshot", "fetch", "plan"]

_RESTARTS = 5  # times that another tool may delete what was brought
_ROOM = "free some space, or set HF_HOME to a disk that has it"
_GO_ON = "what arrived is kept: the same call goes on from there"


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
    with bar() if listen is None else nullcontext(listen) as shown:
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
def _explained(job: _Fetch) -> Iterator[None]:
    """Every error says what was asked for and what a person can do."""
    asked, begin = job.request, job.patience.clock.now()
    try:
        yield
    except LoaderError as error:
        hint = advice(error, asked.repo_id, asked.revision, job.hub.cache_dir)
        error.filled(request=asked, elapsed=job.patience.clock.now() - begin, hint=hint)
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
    return _Fetch(asked, hub, stock, Patience(policy, ends, clock, listen, f"{asked.repo_id}: "))


@dataclass(frozen=True, slots=True)
class _Fetch:
    request: ModelRequest
    hub: Hub
    stock: Stock
    patience: Patience

    @property
    def cache(self) -> RepoCache:
        return self.stock.cache

    @property
    def lookup(self) -> Lookup:
        return Lookup(self.request, self.hub, self.patience)

    def run(self) -> Snapshot:
        cached = self._cached()
        complete = cached if cached and cached.files and not cached.missing else None
        if self.hub.offline and not complete:
            raise self.stock.lacking(cached)
        if complete and (self.hub.offline or (self.request.pinned and complete.known)):
            return self._snapshot(Listing(complete.commit, complete.files), complete.files)
        listing, attempts = (self.lookup.glance(complete), ()) if complete else self.lookup.listing()
        if complete and listing.commit == complete.commit and self.stock.chosen(listing) == complete.files:
            return self._snapshot(listing, complete.files)
        return self._download(listing, attempts)

    def plan(self) -> Planned:
        commit = self._commit()
        kept = self.cache.kept(commit) if commit and (self.request.pinned or self.hub.offline) else None
        if kept is None and self.hub.offline:
            kept = self._all_there()
        listing = kept or self.lookup.listing()[0]
        files = self._chosen(listing)
        wrong = self.stock.wrong(files)
        lost = {file.digest for file in wrong}
        had = present(self.cache.ours, wrong).total()
        return Planned(listing.commit, files, tuple(file for file in files if file.digest not in lost), had)

    def _all_there(self) -> Listing:
        """What the cache shows of a commit whose listing nobody kept. Raises NotCached where that lacks something."""
        cached = self._cached()
        if cached is None or not cached.files or cached.missing:
            raise self.stock.lacking(cached)
        return Listing(cached.commit, cached.files)

    def _commit(self) -> str | None:
        return self.request.revision if self.request.pinned else self.cache.commit_of(self.request.revision)

    def _cached(self) -> Cached | None:
        commit = self._commit()
        return self.stock.of(commit) if commit else None

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
        self.patience.listen(Done(listing.commit))
        return self._snapshot(listing, files, attempts)

    def _refuse_what_cant_come(self, commit: str, missing: tuple[RemoteFile, ...]) -> None:
        """Before a byte: no space for it, a name that no disk takes, or a file that the Hub does not give by HTTP."""
        if long := too_long(missing):
            raise StorageError(f"{long[:40]}... is too long for a name", hint="leave it out by ignore_patterns")
        refusal = too_large(missing, self.request.repo_id, commit, self.hub.cache_dir)
        lack = sum(file.size for file in missing) - present(self.cache.ours, missing).total() - self.cache.free_bytes
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
        total, had, done = sum(file.size for file in missing), present(self.cache.ours, missing), set[str]()
        self.patience.listen(Plan(self.request.repo_id, len(missing), total, had.total()))
        patience, verify = self.patience, self.stock.verify
        route = Route(
            self.hub, self.cache, commit, patience.policy, verify, patience.listen, patience.clock, shown=dict(had)
        )

        def attempt(until: Deadline) -> None:
            bring(missing, route, until, patience.deadline, done)

        return patience.persist("transfer", attempt)[1]

    def _snapshot(
        self, listing: Listing, files: tuple[RemoteFile, ...], attempts: tuple[Attempt, ...] = ()
    ) -> Snapshot:
        folder = self.cache.snapshot(listing.commit)
        return Snapshot(folder, listing.commit, files, self.request, attempts, listing.endpoint)
