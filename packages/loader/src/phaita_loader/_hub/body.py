"""The open response to one GET of a file, once its headers agree with the listing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from phaita_loader._classify import network_failure
from phaita_loader._http.client import HttpClient, Limits, Response, Target, cancel, close, drain, follow
from phaita_loader._http.url import host
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient

__all__ = ["Body", "open_body"]

_CHUNK = 1 << 18


@dataclass(slots=True)
class Body:
    """The bytes of a file from `start` on.

    location: the signed URL on another host that serves them, for the next `open_file`; None where the Hub does.
    whole: True if the server sends the file to its end, whatever range was asked for.
    endpoint: the one that sent the bytes or named that URL, for `Hub.leave` where the bytes are wrong.
    """

    start: int
    host: str
    response: Response = field(repr=False)
    location: str | None = field(default=None, repr=False)
    whole: bool = False
    endpoint: str | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """Return the bytes that are there, at least one unless the body ended. Raises Transient."""
        try:
            return self.response.read1(_CHUNK, decode_content=False)
        except Exception as error:
            raise network_failure(error, self.host) from error

    def cancel(self) -> None:
        """End a `read` that waits in another thread."""
        cancel(self.response)

    def close(self) -> None:
        """Leave the connection to the next request if the body was read to its end; close it otherwise."""
        # Another client's response has no such field; closing it is always right.
        if getattr(self.response, "length_remaining", None) == 0:
            self.response.drain_conn()
        else:
            close(self.response)


def open_body(
    client: HttpClient,
    target: Target,
    file: RemoteFile,
    start: int,
    end: int | None,
    headers: Mapping[str, str],
    limits: Limits,
) -> Body:
    """Ask for the bytes [start, end) and check that the response can hold them.

    Raises Transient, NotFound, AccessDenied.
    """
    span = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    response, target = follow(client, target, {**headers, **span}, limits)
    if not _in_range(response, file, start):
        # Some servers support ranges only in part; they serve the whole file all the same.
        drain(response)
        start = 0
        response, target = follow(client, target, headers, limits)
    if response.status != 206:
        start = 0  # a server that ignores ranges sends the file from its first byte
    if mismatch := _mismatch(response, file, start):
        close(response)
        raise Transient(f"{host(target.url)} sent {mismatch} where {file.path} should be")
    location = target.url if target.foreign else None
    return Body(start, host(target.url), response, location, whole=response.status == 200)


def _in_range(response: Response, file: RemoteFile, start: int) -> bool:
    """True if a response to a range can be used: it is the whole file, or bytes of this file from `start` on."""
    if response.status != 206:
        return response.status != 416
    span = re.fullmatch(r"bytes (\d{1,19})-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return span is not None and int(span[1]) == start and span[2] in {"*", str(file.size)}


def _mismatch(response: Response, file: RemoteFile, start: int) -> str | None:
    """Return a description of what came in place of the file; None if the response can be the file."""
    html = "html" in response.headers.get("Content-Type", "")
    # A captive portal's page often has no length, and taken for the file would spoil all that came before it.
    default = "none" if html and not file.path.endswith(".html") else str(file.size)
    whole = response.status == 206 or response.headers.get("Content-Length", default) == str(file.size)
    plain = response.headers.get("Content-Encoding", "identity").lower() in {"", "identity"}
    if whole and plain and _in_range(response, file, start):
        return None
    return "an HTML page" if html else "something else"
