"""The fetch of a request: cached files that are right stay, missing ones are downloaded, all of them of one commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from phaita_loader._cache.inventory import Cached, Inventory, not_cached
from phaita_loader._cache.repo import RESTARTS, RepoCache
from phaita_loader._classify import storage_failure
from phaita_loader._hints import advice, too_large
from phaita_loader._resolve import choose_files, recheck, resolve
from phaita_loader._transfer.context import Reported, TransferContext
from phaita_loader._transfer.partial import bytes_present, remove_stale
from phaita_loader._transfer.scheduler import download_all
from phaita_loader.errors import Attempt, LoaderError, NotFound, StorageError
from phaita_loader.hub import Hub
from phaita_loader.listing import Listing, RemoteFile, clashing, too_long
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Done, Listener, Plan, bar, silent
from phaita_loader.request import ModelRequest
from phaita_loader.retry import SYSTEM, Clock, Retrying, check_deadline
from phaita_loader.snapshot import VERIFY_CHOICES, Planned, Snapshot, Verify

__all__ = ["FetchContext", "Planned", "Snapshot", "fetch", "plan"]

_FREE_SPACE = "free some space, or set HF_HOME to a disk that has it"
_RESUME = "what arrived is kept: the same call goes on from there"


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
    """Download the files of a request into the standard Hugging Face cache, as far as they are missing.

    No request is made for a pinned commit that is cached; one, for 4 s at most, for a branch that is.

    verify: how far cached files are trusted: "auto" digests those that changed since they were digested, "full" all,
        "size" none.
    listen: gets the events of `phaita_loader.progress` (default: a bar where stderr is a terminal).
    deadline: an instant on `clock` that replaces the policy's deadline.

    Raises ModelDownloadError (its subclasses say what failed), and ValueError for an invalid request.
    """
    with bar() if listen is None else nullcontext(listen) as listener:
        context = FetchContext(request, hub, policy, verify, listener, clock, deadline)
        with _explained(context):
            return _fetch(context)


def plan(
    request: ModelRequest | str,
    *,
    hub: Hub | None = None,
    policy: Policy | None = None,
    verify: Verify = "auto",
    clock: Clock = SYSTEM,
) -> Planned:
    """Return what `fetch` would download and what is cached, with sizes; nothing is downloaded.

    Offline, only the cache is asked. Raises what `fetch` raises.
    """
    context = FetchContext(request, hub, policy, verify, silent, clock, None)
    with _explained(context):
        return _plan(context)


class FetchContext:
    """One call: the request, the Hub, the cache as this call sees it, and the policy at work."""

    def __init__(
        self,
        request: ModelRequest | str,
        hub: Hub | None,
        policy: Policy | None,
        verify: Verify,
        listen: Listener,
        clock: Clock,
        deadline: Deadline | None,
    ) -> None:
        if verify not in VERIFY_CHOICES:
            raise ValueError(f"verify must be one of {', '.join(VERIFY_CHOICES)}; got {verify!r}")
        self.request = ModelRequest(request) if isinstance(request, str) else request
        self.hub = hub or Hub()
        self.verify = verify
        policy = policy or Policy()
        ends = deadline or Deadline.after(policy.deadline, clock.now())
        self.retrying = Retrying(policy, ends, clock, listen, f"{self.request.repo_id}: ")
        self.cache = RepoCache(self.hub.cache_dir, self.request.repo_id, partial(check_deadline, ends, clock))
        self.inventory = Inventory(self.cache, verify, partial(choose_files, self.request, self.hub))

    @property
    def cached_commit(self) -> str | None:
        """The commit that the revision means, as far as the cache knows."""
        return self.request.revision if self.request.pinned else self.cache.commit_of(self.request.revision)

    def inspect(self) -> Cached | None:
        """Verify the cached files of that commit; None where there is none."""
        commit = self.cached_commit
        return self.inventory.inspect(commit) if commit else None


@contextmanager
def _explained(context: FetchContext) -> Iterator[None]:
    """Add the request, the elapsed seconds and the steps a person can take to every error."""
    request, clock = context.request, context.retrying.clock
    begin = clock.now()
    try:
        yield
    except LoaderError as error:
        hint = advice(error, request.repo_id, request.revision, context.hub.cache_dir)
        error.filled(request=request, elapsed=clock.now() - begin, hint=hint)
        raise
    except OSError as error:
        raise storage_failure(error, context.cache.folder).filled(request=request) from error
    except KeyboardInterrupt as stop:
        stop.add_note(_RESUME)
        raise


def _fetch(context: FetchContext) -> Snapshot:
    request, hub = context.request, context.hub
    cached = context.inspect()
    complete = cached if cached and cached.files and not cached.missing else None
    if hub.offline and not complete:
        raise not_cached(cached, request.kind)
    # A pinned commit never changes, so that nobody need be asked; links alone may be an incomplete set.
    if complete and (hub.offline or (request.pinned and complete.has_listing)):
        return _snapshot(context, Listing(complete.commit, complete.files), complete.files)
    if complete:
        listing, attempts = recheck(request, hub, context.retrying, complete), tuple[Attempt, ...]()
        if listing.commit == complete.commit and choose_files(request, hub, listing) == complete.files:
            return _snapshot(context, listing, complete.files)
    else:
        listing, attempts = resolve(request, hub, context.retrying)
    return _download(context, listing, attempts)


def _plan(context: FetchContext) -> Planned:
    request, cache, offline = context.request, context.cache, context.hub.offline
    commit = context.cached_commit
    listing = cache.saved_listing(commit) if commit and (request.pinned or offline) else None
    if listing is None:
        listing = _complete_listing(context) if offline else resolve(request, context.hub, context.retrying)[0]
    files = _choose_or_raise(context, listing)
    invalid = context.inventory.invalid(files)
    missing = {file.digest for file in invalid}
    cached = tuple(file for file in files if file.digest not in missing)
    return Planned(listing.commit, files, cached, bytes_present(cache.ours, invalid).total())


def _complete_listing(context: FetchContext) -> Listing:
    """Return the links of a cached commit that has no saved listing. Raises NotCached where files are missing."""
    cached = context.inspect()
    if cached is None or not cached.files or cached.missing:
        raise not_cached(cached, context.request.kind)
    return Listing(cached.commit, cached.files)


def _choose_or_raise(context: FetchContext, listing: Listing) -> tuple[RemoteFile, ...]:
    files = choose_files(context.request, context.hub, listing)
    if not files:
        raise NotFound(f"the repo has no files for kind {context.request.kind!r}", hint="name files by allow_patterns")
    return files


def _download(context: FetchContext, listing: Listing, attempts: tuple[Attempt, ...]) -> Snapshot:
    cache, request = context.cache, context.request
    files = _choose_or_raise(context, listing)
    missing = context.inventory.invalid(files)
    _refuse_impossible(context, listing.commit, missing)
    cache.prepare(listing.commit)
    if cache.folds_case and (pair := clashing(files)):
        raise StorageError(f"{pair[0]} and {pair[1]} are the same name on this disk", hint="exclude one by its name")
    for _ in range(RESTARTS):
        if missing:
            attempts += _transfer(context, listing.commit, missing)
        missing = _link_all(context, listing.commit, files)
        if not missing:
            break
        cache.prepare(listing.commit)
    else:
        raise StorageError("another program keeps deleting files of the snapshot")
    # A filtered listing would tell other requests that files do not exist.
    if listing.complete:
        cache.save_listing(listing)
    # The ref comes last: it promises a complete snapshot.
    if not request.pinned:
        cache.set_ref(request.revision, listing.commit)
    context.retrying.listen(Done(listing.commit))
    return _snapshot(context, listing, files, attempts)


def _refuse_impossible(context: FetchContext, commit: str, missing: tuple[RemoteFile, ...]) -> None:
    """Raise, before a byte comes, where the disk has no space or takes no such name, or HTTP no such size."""
    cache = context.cache
    if long := too_long(missing):
        raise StorageError(f"{long[:40]}... is too long for a file name", hint="exclude it by ignore_patterns")
    refusal = too_large(missing, context.request.repo_id, commit, context.hub.cache_dir)
    lack = sum(file.size for file in missing) - bytes_present(cache.ours, missing).total() - cache.free_bytes
    if lack > 0:
        hint = _FREE_SPACE if refusal is None else f"{_FREE_SPACE}\n{refusal.hint}"
        raise StorageError(f"{cache.folder} has {lack / 1e6:.0f} MB too little space", hint=hint)
    if refusal is not None:
        raise refusal


def _transfer(context: FetchContext, commit: str, missing: tuple[RemoteFile, ...]) -> tuple[Attempt, ...]:
    """Download the missing files, with retries; return the attempts that failed. Raises ModelDownloadError."""
    cache, retrying = context.cache, context.retrying
    remove_stale(cache.ours, {file.digest for file in missing})
    total, present = sum(file.size for file in missing), bytes_present(cache.ours, missing)
    retrying.listen(Plan(context.request.repo_id, len(missing), total, present.total()))
    transfer = TransferContext(context.hub, cache, commit, retrying, context.verify, Reported(present))

    def attempt(until: Deadline) -> None:
        nonlocal missing
        result = download_all(missing, transfer, until, retrying.deadline)
        missing = result.missing
        if result.failure is not None:
            raise result.failure

    return retrying.call("transfer", attempt)[1]


def _link_all(context: FetchContext, commit: str, files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
    """Link the files into the snapshot; return those that another tool deleted meanwhile."""
    gone = {}
    for file in files:
        try:
            context.cache.link(commit, file, context.verify)
            (context.cache.snapshot(commit) / file.path).stat()
        except FileNotFoundError:
            gone[file.digest] = file
    return tuple(gone.values())


def _snapshot(
    context: FetchContext, listing: Listing, files: tuple[RemoteFile, ...], attempts: tuple[Attempt, ...] = ()
) -> Snapshot:
    path = context.cache.snapshot(listing.commit)
    return Snapshot(path, listing.commit, files, context.request, attempts, listing.endpoint)
