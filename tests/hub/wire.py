"""Below ASGI: which connection a request came over, and what no well-behaved server does to one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import socket
import struct
import termios
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_DELIVERY_SECONDS = 5.0
_POLL_SECONDS = 0.002
_numbers = itertools.count(1)


class Connection(HttpToolsProtocol):
    """One TCP connection. Answers find it with `connection(scope)`; `number` is its own in this process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.number = next(_numbers)
        self.app: Any = self._below(self.app)
        self._lost = asyncio.Event()
        self._raw: _Raw | None = None

    @property
    def lost(self) -> bool:
        """True if it has ended."""
        return self._lost.is_set()

    def speak_raw(self, scope: Scope, rate: int | None = None) -> None:
        """Write this request's answer as it is, whatever its length, with `rate` bytes a second of headers; then end.

        uvicorn itself writes no headers in pieces and no body that is longer than its Content-Length.
        """
        self._raw = _Raw(self, scope["method"] != "HEAD", rate)

    async def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the connection lives."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._lost.wait(), seconds)

    async def write(self, data: bytes) -> None:
        """Send bytes past HTTP; nothing once it has ended."""
        if self.flow.write_paused:
            await self.flow.drain()
        if not self.lost:
            self.transport.write(data)

    async def hang_up(self) -> None:
        """End it properly: FIN once everything is sent."""
        self.transport.close()
        # uvicorn would add a 500 to what is still in the buffer of a connection that closes without an answer.
        await self._lost.wait()

    async def reset(self) -> None:
        """End it with RST, once the client's machine has what was sent before."""
        sock = self.transport.get_extra_info("socket")
        await self._delivered(sock)
        if not self.lost:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        await self._lost.wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"local-hub": {"connection": self}}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost.set()

    async def _delivered(self, sock: socket.socket) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DELIVERY_SECONDS):
                while not self.lost and (self.transport.get_write_buffer_size() or _unacknowledged(sock)):
                    await asyncio.sleep(_POLL_SECONDS)

    def _below(self, app: Any) -> ASGIApp:
        async def called(scope: Scope, receive: Receive, send: Send) -> None:
            async def sent(message: Message) -> None:
                await (send(message) if self._raw is None else self._raw.send(message))

            await app(scope, receive, sent)

        return called


class _Raw:
    """Writes one answer by hand."""

    def __init__(self, to: Connection, has_body: bool, rate: int | None) -> None:
        self._to = to
        self._has_body = has_body
        self._rate = rate

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._head(_head(message))
            return
        if self._has_body:
            await self._to.write(message.get("body", b""))
        if not message.get("more_body", False):
            await self._to.hang_up()

    async def _head(self, head: bytes) -> None:
        for piece, seconds in paced(head, self._rate):
            await self._to.write(piece)
            await self._to.wait(seconds)


def connection(scope: Scope) -> Connection:
    """The connection that a request came over."""
    found = scope["extensions"]["local-hub"]["connection"]
    assert isinstance(found, Connection)
    return found


def paced(data: bytes, rate: int | None) -> Iterator[tuple[bytes, float]]:
    """The data in pieces, each with the seconds that it takes at so many bytes a second; at once without a rate."""
    size = len(data) if rate is None else max(1, rate // 20)
    for at in range(0, len(data), size or 1):
        yield data[at : at + size], size / rate if rate else 0.0


def _head(start: Message) -> bytes:
    status = HTTPStatus(start["status"])
    lines = [b"%s: %s" % pair for pair in start["headers"]]
    return b"\r\n".join([f"HTTP/1.1 {status} {status.phrase}".encode(), *lines, b"connection: close", b"", b""])


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes in the kernel's send queue that the other side has not acknowledged."""
    with contextlib.suppress(OSError):
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    return 0
