"""One blob's bytes: from the first missing byte on, over as many connections as it takes, until the digest is right."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from filelock import FileLock, Timeout

from phaita_loader._cache import RepoCache, Verify
from phaita_loader._classify import storage_failure
from phaita_loader._digest import RunningDigest, stamp
from phaita_loader._partial import Partial
from phaita_loader.errors import Corrupt, StorageError
from phaita_loader.hub import Body, Hub
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Policy
from phaita_loader.progress import Dropped, Listener, Received, Resumed, Verified, silent
from phaita_loader.retry import SYSTEM, Clock, Transient

__all__ = ["BlobTransfer", "Route"]

_LOCK_POLL = 0.1
_CRUMB = 16 << 10  # a connection that brings less is followed by a pause
_SHORTEST, _LONGEST = 0.01, 1.0  # that pause, in seconds


@dataclass(frozen=True, slots=True)
class Route:
    """From where to where, and how patiently."""

    hub: Hub
    cache: RepoCache
    commit: str
    policy: Policy
    verify: Verify = "auto"
    listen: Listener = silent
    clock: Clock = SYSTEM


class BlobTransfer:
    """One file on its way into the cache, run in a thread of its own that another thread may end at any time.

    The mutex guards what the other thread takes away: the blob's lock and its partial file. `received` is the bytes
    that this attempt added; `error` is why it failed, once `ended`.
    """

    def __init__(self, file: RemoteFile, route: Route, on_end: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self.received = 0
        self.ended = False
        self.error: Exception | None = None
        self._route = route
        self._on_end = on_end
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._lock = FileLock(route.cache.lock(file), thread_local=False, mode=0o664)
        self._opening_since: float | None = None
        self._body: Body | None = None
        self._partial: Partial | None = None
        self._digest: RunningDigest | None = None

    @property
    def locked_out(self) -> bool:
        """Whether it still waits for another process to let go of the blob."""
        return not (self._lock.is_locked or self.ended)

    def run(self) -> None:
        """Bring the blob; never raises, see `error`."""
        try:
            self._work()
        except FileNotFoundError:
            self._end(Transient(f"the partial file of {self.file.path} was deleted", final=StorageError))
        except OSError as error:
            self._end(storage_failure(error, self._route.cache.folder))
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def abandon(self, cause: str) -> None:
        """End it from another thread; what arrived stays for the next attempt."""
        # Ended first, so that the error is this one and not what the abort looks like from inside.
        self._end(Transient(cause))
        self._stop.set()
        if self._body is not None:
            self._body.abort()

    def opening_for(self, now: float) -> float:
        """Seconds for which the current connection has been without an answer."""
        since = self._opening_since
        return 0.0 if since is None else now - since

    def _work(self) -> None:
        self._take_lock()
        if self._route.cache.holds(self.file, self._route.verify):
            return  # another process brought it
        with self._mutex:
            self._refuse_if_ended()
            partial = self._partial = Partial(self._route.cache.ours, self.file)
            digest = self._digest = RunningDigest(partial.path, self.file.algorithm, self.file.size)
        if partial.frontier:
            self._route.listen(Resumed(self.file.path, partial.frontier))
            digest.advance(partial.frontier)
        self._receive(partial)
        self._publish(partial, digest.result())

    def _take_lock(self) -> None:
        self._route.cache.lock(self.file).parent.mkdir(parents=True, exist_ok=True)
        while True:
            with self._mutex:
                self._refuse_if_ended()
                try:
                    self._lock.acquire(timeout=0)
                except Timeout:
                    pass
                else:
                    return
            self._stop.wait(_LOCK_POLL)

    def _receive(self, partial: Partial) -> None:
        location: str | None = None
        pause = 0.0
        while partial.frontier < self.file.size:
            self._refuse_if_ended()
            before, reused = self.received, location is not None
            location, drop = self._connection(partial, location)
            gained = self.received - before
            if drop is None:
                continue
            # A signed location may have run out since it was given; the next connection asks for a new one.
            if not gained and not (reused and location is None):
                raise drop
            self._route.listen(Dropped(self.file.path, drop.cause))
            pause = 0.0 if gained >= _CRUMB else min(_LONGEST, max(_SHORTEST, 2 * pause))
            self._stop.wait(pause)

    def _connection(self, partial: Partial, location: str | None) -> tuple[str | None, Transient | None]:
        """One connection to its end: the signed location that is worth using again, and what broke it."""
        offset = partial.frontier
        try:
            body = self._open(offset, location)
        except Transient as drop:
            return None, drop
        offset = body.start
        try:
            while partial.frontier < self.file.size:
                self._refuse_if_ended()  # `abandon` may have come before there was a body to abort
                chunk = body.read()
                if not chunk:
                    return body.location, Transient(f"{body.host} closed the connection early")
                self._keep(partial, offset, chunk)
                offset += len(chunk)
        except Transient as drop:
            return body.location, drop
        finally:
            body.close()
        return body.location, None

    def _open(self, offset: int, location: str | None) -> Body:
        route = self._route
        self._opening_since = route.clock.now()
        try:
            self._body = route.hub.open_file(
                route.cache.repo_id,
                route.commit,
                self.file,
                offset,
                location=location,
                connect=route.policy.connect,
                stall=route.policy.stall,
            )
            return self._body
        finally:
            self._opening_since = None

    def _keep(self, partial: Partial, offset: int, chunk: bytes) -> None:
        with self._mutex:
            self._refuse_if_ended()
            # What is there may have been digested: other bytes in its place would pass for the right ones.
            known = max(0, partial.frontier - offset)
            new = partial.write(offset + known, chunk[known:])
            self.received += new
        self._route.listen(Received(self.file.path, new))
        if self._digest is not None:
            self._digest.advance(partial.frontier)

    def _publish(self, partial: Partial, found: str) -> None:
        with self._mutex:
            self._refuse_if_ended()
            if found != self.file.digest:
                self._route.listen(Received(self.file.path, -partial.size))
                partial.discard()
                self.received = 0
                cause = f"{self.file.path} arrived with a wrong {self.file.algorithm}"
                raise Transient(cause, final=Corrupt, earns=False)
            blob = self._route.cache.blob(self.file)
            partial.publish(blob)
        stamp(self._route.cache.stamp(self.file), blob)
        self._route.listen(Verified(self.file.path))

    def _refuse_if_ended(self) -> None:
        # A TLS socket that is shut down hands out undeciphered bytes: what is read after `abandon` began is not kept.
        if self.ended or self._stop.is_set():
            raise Transient(f"{self.file.path} was given up")

    def _end(self, error: Exception | None) -> None:
        with self._mutex:
            if self.ended:
                return
            self.error = error
            if self._digest is not None:
                self._digest.stop()
            try:
                if self._partial is not None:
                    self._partial.release()
            except OSError as failed:
                self.error = error or storage_failure(failed, self._route.cache.folder)
            self._lock.release()
            self.ended = True
        self._on_end()
