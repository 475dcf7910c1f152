"""The open answer to one GET of a file, once its headers agree with the listing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import urllib3

from phaita_loader._classify import network_failure
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient

__all__ = ["Body", "asking", "finish", "in_range", "opened"]

_CHUNK = 1 << 18
_REDIRECT = 4096  # bytes of a redirect's page that are worth reading to keep its connection


@dataclass(slots=True)
class Body:
    """Bytes of a file from `start` on.

    `location` is the signed URL that another host gave them at, to be passed on to the next `open_file`.
    """

    start: int
    host: str
    response: urllib3.BaseHTTPResponse = field(repr=False)
    location: str | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """The bytes that are there, at least one unless the body ended. Raises Transient when the connection breaks."""
        try:
            return self.response.read1(_CHUNK, decode_content=False)
        except Exception as error:
            raise network_failure(error, self.host) from error

    def abort(self) -> None:
        """End a `read` that waits in another thread."""
        try:
            self.response.shutdown()
        except (ValueError, RuntimeError, OSError):  # already over
            return

    def close(self) -> None:
        """Let go: a body read to its end leaves its connection to the next request, any other ends it."""
        if getattr(self.response, "length_remaining", None) == 0:
            self.response.drain_conn()
        else:
            self.response.close()


def asking(start: int, end: int | None) -> dict[str, str]:
    """The header that asks for these bytes; `end` is exclusive."""
    return {"Range": f"bytes={start}-{'' if end is None else end - 1}"}


def in_range(response: urllib3.BaseHTTPResponse, file: RemoteFile, start: int) -> bool:
    """Whether an answer to a range is of use: the whole file, or bytes of this file from `start` on."""
    if response.status != 206:
        return response.status != 416
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return span is not None and int(span[1]) == start and span[2] in {"*", str(file.size)}


def opened(
    response: urllib3.BaseHTTPResponse, file: RemoteFile, start: int, *, host: str, location: str | None, stall: float
) -> Body:
    """The body of a 200 or 206, which may be silent for `stall` seconds. Raises Transient for anything else."""
    html = "html" in response.headers.get("Content-Type", "")
    if response.status == 206:
        agrees = in_range(response, file, start)
    else:
        start = 0  # a server that ignores ranges sends the file from its first byte
        # A captive portal's page need not say how long it is, and would cost all that came before it.
        unsaid = "none" if html and not file.path.endswith(".html") else str(file.size)
        agrees = response.headers.get("Content-Length", unsaid) == str(file.size)
    if not agrees or response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        what = "an HTML page" if html else "something else"
        raise Transient(f"{host} sent {what} where {file.path} should be")
    # A server that announces the connection's end takes the socket out of urllib3's reach: it keeps its first limit.
    sock = getattr(response.connection, "sock", None)
    if sock is not None:
        sock.settimeout(stall)
    return Body(start, host, response, location)


def finish(response: urllib3.BaseHTTPResponse) -> None:
    """Read a redirect's few bytes, so that the connection serves again; a long page is not worth it."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) <= _REDIRECT:
        response.drain_conn()
    else:
        response.close()
