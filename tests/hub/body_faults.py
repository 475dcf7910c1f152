"""The faults of a body in transit: one class a kind."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

from .answer import Answer
from .body import Span
from .wire import Connection, connection, paced

_GZIP = 16 + zlib.MAX_WBITS
_SURPLUS = bytes(1 << 16)


class CutError(Exception):
    """Ends a response in the middle: the server then closes the connection, unless it is gone."""


@dataclass(frozen=True)
class FaultyResponse:
    """A response that an answer acts on."""

    answer: Answer
    span: Span
    scope: Scope
    send: Send

    @property
    def connection(self) -> Connection:
        """The connection that carries the response."""
        return connection(self.scope)


class BodyFault:
    """Receives the messages of one response and sends them changed."""

    def __init__(self, response: FaultyResponse) -> None:
        self.response = response
        self.answer = response.answer
        self.passed = 0

    async def apply(self, message: Message) -> None:
        """The next message: the head first, then the body in pieces."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            self.change(headers)
            await self.response.send({**message, "headers": headers.raw})
            return
        body = message.get("body", b"")
        begin, self.passed = self.passed, self.passed + len(body)
        await self.body({"more_body": False, **message, "body": body}, begin)

    def change(self, headers: MutableHeaders) -> None:
        """Change the head, if need be."""

    async def body(self, message: Message, begin: int) -> None:
        """Send a piece of the body that begins at this offset of the response."""
        await self.response.send(message)


class _AtByte(BodyFault):
    """Lets the body pass up to a byte, where something happens."""

    @property
    def point(self) -> int:
        return next(at for at in (self.answer.cut, self.answer.reset, self.answer.after) if at is not None)

    async def body(self, message: Message, begin: int) -> None:
        if begin <= self.point < self.passed:
            data, at = message["body"], self.point - begin
            await self.response.send({**message, "body": data[:at], "more_body": True})
            await self.happen()
            message = {**message, "body": data[at:]}
        await self.response.send(message)

    async def happen(self) -> None:
        raise NotImplementedError


class _Cut(_AtByte):
    async def happen(self) -> None:
        raise CutError


class _Reset(_AtByte):
    async def happen(self) -> None:
        await self.response.connection.reset()
        raise CutError


class _Pause(_AtByte):
    async def happen(self) -> None:
        await self.response.connection.wait(self.answer.pause or 0.0)


class _Flip(BodyFault):
    async def body(self, message: Message, begin: int) -> None:
        data, at = message["body"], (self.answer.flip or 0) - self.response.span.start - begin
        if 0 <= at < len(data):
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        await self.response.send({**message, "body": data})


class _Drip(BodyFault):
    async def body(self, message: Message, begin: int) -> None:
        quick = max(0, self.answer.after - begin)
        data = message["body"]
        await self.response.send({**message, "body": data[:quick], "more_body": True})
        for piece, seconds in paced(data[quick:], self.answer.drip):
            if self.response.connection.lost:
                raise CutError
            await self.response.send({**message, "body": piece, "more_body": True})
            await self.response.connection.wait(seconds)
        await self.response.send({**message, "body": b""})


class _Long(BodyFault):
    def change(self, headers: MutableHeaders) -> None:
        if self.answer.declared == "all":
            headers["Content-Length"] = str(len(self.response.span) + (self.answer.long or 0))
        elif self.answer.declared == "nothing":
            del headers["Content-Length"]
        else:
            self.response.connection.speak_raw(self.response.scope)

    async def body(self, message: Message, begin: int) -> None:
        await self.response.send({**message, "more_body": True})
        if message["more_body"]:
            return
        left = self.answer.long or 0
        while left and not self.response.connection.lost:
            piece = _SURPLUS[:left]
            left -= len(piece)
            await self.response.send({**message, "body": piece, "more_body": True})
            # Sending suspends only when the socket is full, and the loop has others to serve.
            await asyncio.sleep(0)
        await self.response.send({**message, "body": b""})


class _BadRange(BodyFault):
    def change(self, headers: MutableHeaders) -> None:
        del headers["Content-Range"]
        if self.answer.bad_range:
            headers["Content-Range"] = self.answer.bad_range


class _Gzip(BodyFault):
    def __init__(self, response: FaultyResponse) -> None:
        super().__init__(response)
        self._packer = zlib.compressobj(1, wbits=_GZIP)

    def change(self, headers: MutableHeaders) -> None:
        del headers["Content-Length"]
        headers["Content-Encoding"] = "gzip"

    async def body(self, message: Message, begin: int) -> None:
        packed = self._packer.compress(message["body"])
        if not message["more_body"]:
            packed += self._packer.flush()
        await self.response.send({**message, "body": packed})


BODY_FAULTS: Mapping[str, type[BodyFault]] = {
    "bad_range": _BadRange,
    "cut": _Cut,
    "drip": _Drip,
    "flip": _Flip,
    "gzip": _Gzip,
    "long": _Long,
    "pause": _Pause,
    "reset": _Reset,
}
