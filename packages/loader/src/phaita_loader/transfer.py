"""One blob on its way into the cache: one process at a time, several connections, until the digest is right."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

from phaita_loader._assembly import Assembly
from phaita_loader._classify import storage_failure
from phaita_loader._connection import Connection
from phaita_loader._digest import stamp
from phaita_loader._lock import BlobLock
from phaita_loader._route import Route
from phaita_loader.errors import Corrupt, StorageError
from phaita_loader.listing import SMALL, RemoteFile
from phaita_loader.progress import Received, Resumed, Verified
from phaita_loader.retry import Transient

__all__ = ["BlobTransfer"]

_TRIAL = 0.25  # seconds after which it shows how fast one connection is
_QUICK = 2.0  # seconds that one connection may well be left alone
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
        self._assembly: Assembly | None = None
        self._first: Connection | None = None
        self._helpers: list[Connection] = []
        self._helper_left = threading.Event()
        self._crowded = False
        self._answered_at: float | None = None

    @property
    def received(self) -> int:
        """Bytes that this attempt added to what was there."""
        assembly = self._assembly
        return assembly.received if assembly is not None else 0

    @property
    def connections(self) -> int:
        """How many threads bring it."""
        return 1 + len(self._helpers)

    @property
    def answered(self) -> bool:
        """Whether a server gave the first connection a body, or nothing had to be asked."""
        return self.ended or self._answered_at is not None

    @property
    def locked_out(self) -> bool:
        """Whether it still waits for another process to let go of the blob."""
        return self._lock.waiting and not self.ended

    def run(self) -> None:
        """Bring the blob; never raises, see `error`."""
        try:
            self._work()
        except OSError as error:
            self._end(self._storage_failure(error))
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def help(self) -> Callable[[], None] | None:
        """The work of one more thread, where there is some."""
        with self._mutex:
            assembly = self._assembly
            if self._stop.is_set() or self._crowded or assembly is None:
                return None
            if not self._is_slow(assembly) or not assembly.offers():
                return None
            helper = Connection(assembly, self._route)
            self._helpers.append(helper)
        return lambda: self._help(helper, assembly)

    def _is_slow(self, assembly: Assembly) -> bool:
        """Whether one connection would take long: on a fast link more of them cost processor time and gain nothing."""
        if self._answered_at is None:
            return False
        elapsed = self._route.clock.now() - self._answered_at
        rest = self.file.size - assembly.size
        return elapsed >= _TRIAL and rest * elapsed > _QUICK * assembly.received

    def abandon(self, cause: str) -> None:
        """End it from another thread; what arrived stays for the next attempt."""
        self._end(Transient(cause))

    def end_stuck(self, now: float, limit: float) -> None:
        """Do without the connections that have been waiting for an answer for more than `limit` seconds."""
        for helper in [one for one in self._helpers if one.opening_for(now) > limit]:
            helper.abort()
            self._leave(helper)
        if self._first is not None and self._first.opening_for(now) > limit:
            self.abandon(f"no answer for {self.file.path} within {limit:g} s")

    def _work(self) -> None:
        if not self._lock.take():
            raise self._given_up()
        for restarts in range(_RESTARTS):
            if self._route.cache.holds(self.file, self._route.verify):
                return self._found()
            try:
                # Who took it away may be a writer whose lock lies: taking it back would go on for ever.
                return self._bring(alone=restarts > 0)
            except FileNotFoundError:
                self._forget()  # another tool deleted what was there: once more from the first byte
                self._route.cache.prepare(self._route.commit)
        raise Transient(f"the partial file of {self.file.path} was deleted again and again", final=StorageError)

    def _found(self) -> None:
        """Another process brought it."""
        self._route.listen(Received(self.file.path, self.file.size))
        self._route.listen(Verified(self.file.path))

    def _begin(self, *, alone: bool) -> tuple[Assembly, Connection]:
        route = self._route
        assembly = Assembly(route.cache.ours, self.file, route.policy.connections, alone=alone)
        with self._mutex:
            if not self._stop.is_set():
                self._assembly, self._first = assembly, Connection(assembly, route, self._answer_came)
                return assembly, self._first
        assembly.close()
        raise self._given_up()

    def _answer_came(self) -> None:
        self._answered_at = self._route.clock.now()
        self._on_change()

    def _bring(self, *, alone: bool) -> None:
        assembly, first = self._begin(alone=alone)
        if assembly.resumed:
            self._route.listen(Resumed(self.file.path, assembly.resumed))
        while not assembly.complete:
            self._refuse_if_stopped()
            piece = assembly.take()
            if piece is None:
                self._wait_for_helper()
                continue
            try:
                first.bring(piece)
            except Transient:
                if not self._was_helped(assembly):
                    raise
        self._publish(assembly)

    def _was_helped(self, assembly: Assembly) -> bool:
        """Whether others go on where this connection failed; it waits for one of them to see what is left."""
        self._crowded = True  # a server that refuses one of several connections is asked for fewer
        before = assembly.received
        self._helper_left.clear()
        if self._helpers:
            self._wait_for_helper()
        return assembly.received > before

    def _wait_for_helper(self) -> None:
        self._helper_left.wait()
        self._helper_left.clear()

    def _help(self, helper: Connection, assembly: Assembly) -> None:
        error: Exception | None = None
        try:
            while (piece := assembly.take()) is not None:
                helper.bring(piece)
        except (Transient, FileNotFoundError):  # the first connection goes on, or finds the same
            self._crowded = True
        except OSError as raised:
            error = self._storage_failure(raised)
        except Exception as raised:
            error = raised
        self._leave(helper)
        if error is not None:
            self._end(error)

    def _leave(self, helper: Connection) -> None:
        with self._mutex:
            if helper in self._helpers:
                self._helpers.remove(helper)
        self._helper_left.set()
        self._on_change()

    def _publish(self, assembly: Assembly) -> None:
        found = assembly.digest()
        self._refuse_if_stopped()
        if found != self.file.digest:
            self._route.listen(Received(self.file.path, -assembly.size))
            assembly.discard()
            self._route.hub.leave(assembly.endpoint)
            raise Transient(f"{self.file.path} arrived with a wrong {self.file.algorithm}", final=Corrupt, earns=False)
        blob = self._route.cache.blob(self.file)
        assembly.publish(blob)
        if self.file.size > SMALL:
            stamp(self._route.cache.stamp(self.file), blob, blob.stat())
        self._route.listen(Verified(self.file.path))

    def _forget(self) -> None:
        assembly, self._assembly = self._assembly, None
        for helper in list(self._helpers):
            helper.abort()
        if assembly is not None:
            self._route.listen(Received(self.file.path, -assembly.size))
            assembly.discard()

    def _storage_failure(self, error: OSError) -> Exception:
        failure = storage_failure(error, self._route.cache.folder)
        assembly = self._assembly
        if error.errno in _FULL and assembly is not None:
            lack = (self.file.size - assembly.size) / 1e6
            failure.cause += f"; {lack:.1f} MB of {self.file.path} are still to come"
        return failure

    def _refuse_if_stopped(self) -> None:
        if self._stop.is_set():
            raise self._given_up()

    def _given_up(self) -> Transient:
        return Transient(f"{self.file.path} was given up")

    def _end(self, error: Exception | None) -> None:
        """Once, by whoever comes first: the error is the cause, and not what its consequences look like from inside."""
        with self._mutex:
            if self._stop.is_set():
                return
            self._stop.set()
            self.error = error
            connections = [*self._helpers, *([self._first] if self._first else [])]
        for connection in connections:
            connection.abort()
        self._helper_left.set()
        assembly = self._assembly
        try:
            if assembly is not None:
                assembly.close()
        except OSError as failed:
            self.error = error or self._storage_failure(failed)
        finally:
            self._lock.give_back()
            self.ended = True
            self._on_change()


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
