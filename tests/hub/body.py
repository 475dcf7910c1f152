"""File bodies: byte ranges, and a response that streams from disk and stops when its client is gone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .content import Blob

CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Span:
    """Bytes [start, stop) of a file."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class UnsatisfiableError(Exception):
    """No byte of the file lies in the range asked for."""


def parse_range(header: str | None, size: int) -> Span | None:
    """The one range asked for. None means the whole file: no header, several ranges, or nothing a range can be."""
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return _checked(Span(max(0, size - int(last)), size))
    if last and int(last) < int(first):
        return None
    return _checked(Span(int(first), min(int(last) + 1, size) if last else size))


def _checked(span: Span) -> Span:
    if span.stop <= span.start:
        raise UnsatisfiableError
    return span


def file_response(request: Request, blob: Blob, headers: Mapping[str, str]) -> Response:
    """200, 206, 304 or 416 for a file, whatever the request's headers ask for. `headers` bring the ETag."""
    head = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    etag = head["ETag"]
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": etag})
    wanted = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    try:
        span = parse_range(wanted, blob.size)
    except UnsatisfiableError:
        return Response(status_code=416, headers={**head, "Content-Range": f"bytes */{blob.size}"})
    return BlobResponse(blob, span, head)


class BlobResponse(Response):
    """Part or all of a blob, read piece by piece so that memory stays bounded whatever the size."""

    def __init__(self, blob: Blob, span: Span | None, headers: Mapping[str, str]) -> None:
        self._blob = blob
        self._span = span or Span(0, blob.size)
        super().__init__(status_code=200 if span is None else 206, headers=dict(headers))
        self.headers["Content-Length"] = str(len(self._span))
        if span is not None:
            self.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{blob.size}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._stream(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        left = len(self._span)
        try:
            with self._blob.open() as file:
                file.seek(self._span.start)
                while left and not gone.done():
                    chunk = file.read(min(CHUNK, left))
                    left -= len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    # Sending suspends only when the socket is full; without a turn of the loop a hang-up goes unseen.
                    await asyncio.sleep(0)
        finally:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
