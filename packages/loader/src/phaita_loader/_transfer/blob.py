"""One blob on its way into the cache: one process at a time, until the digest is right."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

from phaita_loader._cache.digest import stamp
from phaita_loader._classify import storage_failure
from phaita_loader._transfer.context import Route
from phaita_loader._transfer.lock import BlobLock
from phaita_loader._transfer.workers import Team
from phaita_loader._transfer.writer import Assembly
from phaita_loader.errors import Corrupt, StorageError
from phaita_loader.listing import SMALL, RemoteFile
from phaita_loader.progress import Received, Resumed, Verified
from phaita_loader.retry import Transient

__all__ = ["BlobTransfer"]

_RESTARTS = 5  # times that another tool may delete what is being written


class BlobTransfer:
    """One file on its way into the cache. `run` is the work of one thread, `help` gives that of each further one.

    The supervising thread reads the properties and may `abandon` it at any time. `error` is why it failed, once
    `ended`; `on_change` is called when there is something new to look at.
    """

    def __init__(self, file: RemoteFile, route: Route, on_change: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self.ended = False
        self.error: Exception | None = None
        self._route = route
        self._on_change = on_change
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._lock = BlobLock(file, route)
        self._checking = False
        self._team: Team | None = None

    @property
    def received(self) -> int:
        """Bytes that this attempt added to what was there."""
        return self._team.assembly.received if self._team is not None else 0

    @property
    def connections(self) -> int:
        """How many threads bring it."""
        return self._team.size if self._team is not None else 1

    @property
    def answered(self) -> bool:
        """Whether a server gave the first connection a body, or nothing had to be asked."""
        return self.ended or (self._team is not None and self._team.answered)

    @property
    def locked_out(self) -> bool:
        """Whether it still waits for another process to let go of the blob."""
        return self._lock.waiting and not self.ended

    @property
    def resting(self) -> bool:
        """Whether it waits for no server: for another process, or for the digest of what is there."""
        whole = self._team is not None and self._team.assembly.complete
        return (self._lock.waiting or self._checking or whole) and not self.ended

    def run(self) -> None:
        """Bring the blob; never raises, see `error`."""
        try:
            self._work()
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def help(self) -> Callable[[], None] | None:
        """The work of one more thread, where there is some."""
        return None if self._team is None else self._team.help()

    def renew(self) -> None:
        """Go on over new connections."""
        if self._team is not None:
            self._team.renew()

    def abandon(self, cause: str) -> None:
        """End it from another thread; what arrived stays for the next attempt."""
        self._end(Transient(cause))

    def end_stuck(self, now: float, limit: float) -> None:
        """Do without the connections that have been waiting for an answer for more than `limit` seconds."""
        if self._team is not None and self._team.end_stuck(now, limit) and not self._stop.is_set():
            cause = f"no answer for {self.file.path} within {limit:g} s"
            # Whoever watches waits for no disk.
            threading.Thread(target=self.abandon, args=(cause,), daemon=True).start()

    def _work(self) -> None:
        if not self._lock.take():
            raise self._given_up()
        for restarts in range(_RESTARTS):
            if self._is_there():
                return self._found()
            try:
                # Who took it away may be a writer whose lock lies: taking it back would go on for ever.
                return self._bring(alone=restarts > 0)
            except FileNotFoundError:
                self._forget()  # another tool deleted what was there: once more from the first byte
                self._route.cache.prepare(self._route.commit)
        raise Transient(f"the partial file of {self.file.path} was deleted again and again", final=StorageError)

    def _is_there(self) -> bool:
        self._checking = True
        try:
            return self._route.cache.holds(self.file, self._route.verify)
        finally:
            self._checking = False

    def _found(self) -> None:
        """Another process brought it."""
        self._show(self.file.size)
        self._route.listen(Verified(self.file.path))

    def _show(self, size: int) -> None:
        """Tell how many of the file's bytes there are, where that is not what was told."""
        news = size - self._route.shown.get(self.file.digest, 0)
        self._route.shown[self.file.digest] = size
        if news:
            self._route.listen(Received(self.file.path, news))

    def _begin(self, *, alone: bool) -> Team:
        route = self._route
        assembly = Assembly(route.cache.ours, self.file, route.policy.connections, alone=alone)
        with self._mutex:
            if not self._stop.is_set():
                self._team = Team(assembly, route, self._on_change, self._end)
                return self._team
        assembly.close()
        raise self._given_up()

    def _bring(self, *, alone: bool) -> None:
        team = self._begin(alone=alone)
        self._show(team.assembly.resumed)
        if team.assembly.resumed:
            self._route.listen(Resumed(self.file.path, team.assembly.resumed))
        team.bring()
        self._publish(team.assembly)

    def _publish(self, assembly: Assembly) -> None:
        found = assembly.digest()
        if self._stop.is_set():
            raise self._given_up()
        self._route.shown[self.file.digest] = assembly.size
        if found != self.file.digest:
            self._show(0)
            assembly.discard()
            self._route.hub.leave(assembly.endpoint)
            raise Transient(f"{self.file.path} arrived with a wrong {self.file.algorithm}", final=Corrupt, earns=False)
        blob = self._route.cache.blob(self.file)
        assembly.publish(blob)
        if self.file.size > SMALL:
            stamp(self._route.cache.stamp(self.file), blob, blob.stat())
        self._route.listen(Verified(self.file.path))

    def _forget(self) -> None:
        team, self._team = self._team, None
        if team is not None:
            team.stop()
            self._route.shown[self.file.digest] = team.assembly.size
            self._show(0)
            team.assembly.discard()

    def _failure(self, error: Exception | None) -> Exception | None:
        """The error as the caller is to see it."""
        if not isinstance(error, OSError):
            return error
        failure = storage_failure(error, self._route.cache.folder)
        if error.errno in _FULL and self._team is not None:
            lack = (self.file.size - self._team.assembly.size) / 1e6
            failure.cause += f"; {lack:.1f} MB of {self.file.path} are still to come"
        return failure

    def _given_up(self) -> Transient:
        return Transient(f"{self.file.path} was given up")

    def _end(self, error: Exception | None) -> None:
        """Once, by whoever comes first: the error is the cause, and not what its consequences look like from inside."""
        with self._mutex:
            if self._stop.is_set():
                return
            self._stop.set()
            self.error = self._failure(error)
        try:
            if self._team is not None:
                self._team.stop()
                self._team.assembly.close()
                self._route.shown[self.file.digest] = self._team.assembly.size
        except OSError as failed:
            self.error = self.error or self._failure(failed)
        finally:
            self._lock.give_back()
            self.ended = True
            self._on_change()


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
