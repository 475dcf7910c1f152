"""A worker of one file: its segments, over one connection after the other, in a thread that another may cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable

from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.segments import Segment
from phaita_loader._transfer.writer import BlobWriter
from phaita_loader.hub import Body
from phaita_loader.progress import Dropped, Received
from phaita_loader.retry import Transient

__all__ = ["Worker"]

_COSTLY = 1 << 20  # bytes that should not come twice
_FEW = 16 << 10  # bytes; a connection that brings less is followed by a pause
_PAUSE_MIN, _PAUSE_MAX = 0.01, 1.0  # that pause, in seconds


class _AskAgain(Transient):
    """The failure of a server that supports ranges and sent the whole file once: it is asked again."""


class Worker:
    """Brings segments of one file.

    received: the new bytes it brought. `on_answer` is called when a server gives it its first body.
    """

    def __init__(
        self, writer: BlobWriter, context: TransferContext, on_answer: Callable[[], None] | None = None
    ) -> None:
        self.received = 0
        self._writer = writer
        self._context = context
        self._on_answer: Callable[[], None] | None = on_answer
        self._cancelled = threading.Event()
        self._opening_since: float | None = None
        self._body: Body | None = None
        self._dropped: Body | None = None
        self._before = 0
        self._segment: Segment | None = None

    def bring(self, segment: Segment) -> None:
        """Bring one segment to its end, over as many connections as that takes.

        A drop after new bytes is followed by the next connection at once, or after a pause where the bytes were few.
        Raises Transient from a connection that brought none, and any other error of the Hub at once.
        """
        pause = 0.0
        self._segment = segment
        try:
            while segment.at < segment.end:
                self._before, reused = self.received, self._writer.location
                drop = self._connect_once(segment, reused)
                if drop is None:
                    continue
                gained = self.received - self._before
                # A signed location may have expired since it was given; the next connection uses a new one.
                if not (gained or isinstance(drop, _AskAgain)) and (reused is None or self._writer.location == reused):
                    raise drop
                self._context.listen(Dropped(self._writer.file.path, drop.cause))
                pause = 0.0 if gained >= _FEW else min(_PAUSE_MAX, max(_PAUSE_MIN, 2 * pause))
                if pause:
                    self._context.clock.wait(self._cancelled, pause)
        finally:
            self._writer.release(segment)

    def reconnect(self) -> None:
        """Go on over a new connection, if the present one brought something; to be called from another thread.

        A server that sends the whole file whatever range is asked for would begin again, so it is left alone.
        """
        body = self._body
        if body is not None and not body.whole and self.received > self._before:
            self._dropped = body
            body.cancel()

    def cancel(self) -> None:
        """End it from another thread, though it may be stuck: its segment is free again."""
        self._cancelled.set()
        body = self._body
        if body is not None:
            body.cancel()
        if self._segment is not None:
            self._writer.release(self._segment)

    def opening_for(self, now: float) -> float:
        """Return the seconds for which it has been waiting for a response."""
        since = self._opening_since
        return 0.0 if since is None else now - since

    def _connect_once(self, segment: Segment, location: str | None) -> Transient | None:
        """Use one connection to its end; return what broke it, if something did."""
        try:
            body = self._open(segment, location)
        except Transient as drop:
            if self._writer.location == location:  # not yet renewed by another worker
                self._writer.location = None
            return drop
        try:
            self._read(body, segment)
        except Transient as drop:
            return drop
        finally:
            self._body = None  # its socket may soon serve another request
            body.close()
        return None

    def _open(self, segment: Segment, location: str | None) -> Body:
        context, file = self._context, self._writer.file
        self._raise_if_cancelled()
        self._opening_since = context.clock.now()
        try:
            self._body = body = context.hub.open_file(
                context.cache.repo_id,
                context.commit,
                file,
                segment.at,
                segment.end if segment.end < file.size else None,
                location=location,
                connect=context.policy.connect,
                stall=context.policy.stall,
            )
        finally:
            self._opening_since = None
        self._writer.location = body.location
        self._writer.endpoint = body.endpoint or self._writer.endpoint
        return body

    def _read(self, body: Body, segment: Segment) -> None:
        offset = body.start
        if body.whole:
            self._accept_whole_file(body, segment)
        # After the whole-file check: a body that is refused is no answer.
        if self._on_answer is not None:
            self._on_answer()
            self._on_answer = None
        while segment.at < segment.end:
            self._raise_if_cancelled()  # `cancel` may have come before there was a body to end
            chunk = body.read()
            # A TLS socket that is shut down returns undeciphered bytes: none is kept after `cancel` or `reconnect`.
            self._raise_if_cancelled()
            if self._dropped is body:
                raise Transient(f"the connection to {body.host} is replaced by a new one")
            if not chunk:
                raise Transient(f"{body.host} closed the connection early")
            new = self._writer.write(segment, offset, chunk)
            offset += len(chunk)
            self.received += new
            self._context.listen(Received(self._writer.file.path, new))

    def _accept_whole_file(self, body: Body, segment: Segment) -> None:
        """Extend the segment to the whole file that the server sends. Raises Transient where that is not to be had.

        Where much is there already, a server gets a second chance to send the range; it may have erred once. Where
        other workers bring parts, this one ends.
        """
        refusal = f"{body.host} sent the whole file where a part was asked for"
        if self._writer.size > _COSTLY and not self._writer.whole_file_seen:
            self._writer.whole_file_seen, self._writer.location = True, None
            raise _AskAgain(refusal)
        if not self._writer.claim_whole_file(segment):
            raise Transient(refusal)

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Transient(f"{self._writer.file.path} was given up")
