"""One connection after another for the pieces of one file, in one thread that another may end at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from phaita_loader._transfer.context import Route
from phaita_loader._transfer.segments import Piece
from phaita_loader._transfer.writer import Assembly
from phaita_loader.hub import Body
from phaita_loader.progress import Dropped, Received
from phaita_loader.retry import Transient

__all__ = ["Connection"]

_DEAR = 1 << 20  # bytes that are not to come twice
_CRUMB = 16 << 10  # a connection that brings less is followed by a pause
_SHORTEST, _LONGEST = 0.01, 1.0  # that pause, in seconds


class _Doubt(Transient):
    """A server that knows ranges sends the whole file all the same, once: it is worth asking again."""


class Connection:
    """`received` counts the new bytes it brought; `on_answer` is called when a server gives it its first body."""

    def __init__(self, assembly: Assembly, route: Route, on_answer: Callable[[], None] | None = None) -> None:
        self.received = 0
        self._assembly = assembly
        self._route = route
        self._on_answer: Callable[[], None] | None = on_answer
        self._stop = threading.Event()
        self._opening_since: float | None = None
        self._body: Body | None = None
        self._dropped: Body | None = None
        self._before = 0
        self._piece: Piece | None = None

    def bring(self, piece: Piece) -> None:
        """Bring one piece to its end, over as many connections as that takes.

        A drop after new bytes is followed by the next connection at once, or after a pause where the bytes were few.
        Raises Transient from a connection that brought none, and whatever else the Hub refuses it with.
        """
        pause = 0.0
        self._piece = piece
        try:
            while piece.at < piece.end:
                self._before, reused = self.received, self._assembly.location
                drop = self._once(piece, reused)
                if drop is None:
                    continue
                gained = self.received - self._before
                # A signed location may have run out since it was given; the next connection uses a new one.
                if not (gained or isinstance(drop, _Doubt)) and (reused is None or self._assembly.location == reused):
                    raise drop
                self._route.listen(Dropped(self._assembly.file.path, drop.cause))
                pause = 0.0 if gained >= _CRUMB else min(_LONGEST, max(_SHORTEST, 2 * pause))
                self._stop.wait(pause)
        finally:
            self._assembly.give_back(piece)

    def renew(self) -> None:
        """End the connection there is from another thread, if it brought something: the next one goes on.

        Not where the server sends the whole file whatever it is asked for, and would begin again.
        """
        body = self._body
        if body is not None and not body.whole and self.received > self._before:
            self._dropped = body
            body.abort()

    def abort(self) -> None:
        """End it from another thread, though it may be stuck: its piece is free again."""
        self._stop.set()
        body = self._body
        if body is not None:
            body.abort()
        if self._piece is not None:
            self._assembly.give_back(self._piece)

    def opening_for(self, now: float) -> float:
        """Seconds for which it has been without an answer."""
        since = self._opening_since
        return 0.0 if since is None else now - since

    def _once(self, piece: Piece, location: str | None) -> Transient | None:
        """One connection to its end, and what broke it."""
        try:
            body = self._open(piece, location)
        except Transient as drop:
            if self._assembly.location == location:  # not yet renewed by another connection
                self._assembly.location = None
            return drop
        try:
            self._read(body, piece)
        except Transient as drop:
            return drop
        finally:
            self._body = None  # its socket may soon serve somebody else
            body.close()
        return None

    def _open(self, piece: Piece, location: str | None) -> Body:
        route, file = self._route, self._assembly.file
        self._refuse_if_stopped()
        self._opening_since = route.clock.now()
        try:
            self._body = body = route.hub.open_file(
                route.cache.repo_id,
                route.commit,
                file,
                piece.at,
                piece.end if piece.end < file.size else None,
                location=location,
                connect=route.policy.connect,
                stall=route.policy.stall,
            )
        finally:
            self._opening_since = None
        self._assembly.location = body.location
        self._assembly.endpoint = body.endpoint or self._assembly.endpoint
        return body

    def _read(self, body: Body, piece: Piece) -> None:
        offset = body.start
        if body.whole and self._assembly.size > _DEAR and not self._assembly.doubted:
            self._assembly.doubted, self._assembly.location = True, None
            raise _Doubt(f"{body.host} sent the whole file where a part was asked for")
        if body.whole and not self._assembly.claim_all(piece):
            raise Transient(f"{body.host} sent the whole file where a part was asked for")
        if self._on_answer is not None:
            self._on_answer()
            self._on_answer = None
        while piece.at < piece.end:
            self._refuse_if_stopped()  # `abort` may have come before there was a body to end
            chunk = body.read()
            # A TLS socket that is shut down hands out undeciphered bytes: none is kept after `abort` or `renew` began.
            self._refuse_if_stopped()
            if self._dropped is body:
                raise Transient(f"the connection to {body.host} is made anew")
            if not chunk:
                raise Transient(f"{body.host} closed the connection early")
            new = self._assembly.keep(piece, offset, chunk)
            offset += len(chunk)
            self.received += new
            self._route.listen(Received(self._assembly.file.path, new))

    def _refuse_if_stopped(self) -> None:
        if self._stop.is_set():
            raise Transient(f"{self._assembly.file.path} was given up")
