"""The connections that bring one file: a first one, and helpers where it alone would take long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from phaita_loader._transfer.context import Route
from phaita_loader._transfer.worker import Connection
from phaita_loader._transfer.writer import Assembly
from phaita_loader.retry import Transient

__all__ = ["Team"]

_TRIAL = 0.25  # seconds after which it shows how fast one connection is
_QUICK = 2.0  # seconds that one connection may well be left alone


class Team:
    """`bring` is the work of the file's own thread, `help` gives that of each further one.

    `on_change` is called when there is something new to look at, `fail` with what ends the file and a helper met.
    """

    def __init__(
        self, assembly: Assembly, route: Route, on_change: Callable[[], None], fail: Callable[[Exception], None]
    ) -> None:
        self.assembly = assembly
        self._route = route
        self._on_change = on_change
        self._fail = fail
        self._mutex = threading.Lock()
        self._stopped = False
        self._first = Connection(assembly, route, self._answer_came)
        self._helpers: list[Connection] = []
        self._helper_left = threading.Event()
        self._crowded = False
        self._answered_at: float | None = None

    @property
    def size(self) -> int:
        """How many threads bring the file."""
        return 1 + len(self._helpers)

    @property
    def answered(self) -> bool:
        """Whether a server gave the first connection a body."""
        return self._answered_at is not None

    def bring(self) -> None:
        """Until all bytes are there.

        Raises what the first connection meets and no helper makes good: Transient, whatever else the Hub refuses it
        with, OSError.
        """
        while not self.assembly.complete:
            if self._stopped:
                raise Transient(f"{self.assembly.file.path} was given up")
            piece = self.assembly.take()
            if piece is None:
                self._wait_for_helper()
                continue
            try:
                self._first.bring(piece)
            except Transient:
                if not self._was_helped():
                    raise

    def help(self) -> Callable[[], None] | None:
        """The work of one more thread, where there is some."""
        with self._mutex:
            if self._stopped or self._crowded or not self._is_slow() or not self.assembly.offers():
                return None
            helper = Connection(self.assembly, self._route)
            self._helpers.append(helper)
        return lambda: self._help(helper)

    def renew(self) -> None:
        """Have new connections go on where those that there are have come to."""
        for connection in self._all():
            connection.renew()

    def end_stuck(self, now: float, limit: float) -> bool:
        """Do without the helpers that have waited for an answer for over `limit` seconds; whether the first one has.

        It waits for no disk.
        """
        for helper in [one for one in self._helpers if one.opening_for(now) > limit]:
            self._leave(helper)
            threading.Thread(target=self._abort, args=(helper,), daemon=True).start()
        return self._first.opening_for(now) > limit

    def stop(self) -> None:
        """End all of them from another thread, though they may be stuck."""
        with self._mutex:
            self._stopped = True
        for connection in self._all():
            connection.abort()
        self._helper_left.set()

    def _all(self) -> list[Connection]:
        with self._mutex:
            return [*self._helpers, self._first]

    def _answer_came(self) -> None:
        self._answered_at = self._route.clock.now()
        self._on_change()

    def _is_slow(self) -> bool:
        """Whether one connection would take long: on a fast link more of them cost processor time and gain nothing."""
        if self._answered_at is None:
            return False
        elapsed = self._route.clock.now() - self._answered_at
        rest = self.assembly.file.size - self.assembly.size
        return elapsed >= _TRIAL and rest * elapsed > _QUICK * self.assembly.received

    def _was_helped(self) -> bool:
        """Whether others go on where this connection failed; it waits for one of them to see what is left."""
        self._crowded = True  # a server that refuses one of several connections is asked for fewer
        before = self.assembly.received
        self._helper_left.clear()
        if self._helpers:
            self._wait_for_helper()
        return self.assembly.received > before

    def _wait_for_helper(self) -> None:
        self._helper_left.wait()
        self._helper_left.clear()

    def _help(self, helper: Connection) -> None:
        error: Exception | None = None
        try:
            while (piece := self.assembly.take()) is not None:
                helper.bring(piece)
        except (Transient, FileNotFoundError):  # the first connection goes on, or finds the same
            self._crowded = True
        except Exception as raised:
            error = raised
        self._leave(helper)
        if error is not None:
            self._fail(error)

    def _abort(self, helper: Connection) -> None:
        helper.abort()
        self._helper_left.set()  # its piece is free again

    def _leave(self, helper: Connection) -> None:
        with self._mutex:
            if helper in self._helpers:
                self._helpers.remove(helper)
        self._helper_left.set()
        self._on_change()
