"""The open answer to one GET of a file, once its headers agree with the listing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from phaita_loader._classify import network_failure
from phaita_loader._http.client import Answer, Limits, Opener, Target, abort, finish, follow, hang_up
from phaita_loader._http.url import host
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient

__all__ = ["Body", "open_body"]

_CHUNK = 1 << 18


@dataclass(slots=True)
class Body:
    """Bytes of a file from `start` on.

    `location` is the signed URL that another host gave them at, to be passed on to the next `open_file`; `whole` is
    whether the server sends the file to its end, whatever it was asked for; `endpoint` the one that gave the bytes or
    named that URL, to be left by `Hub.leave` where they are wrong.
    """

    start: int
    host: str
    response: Answer = field(repr=False)
    location: str | None = field(default=None, repr=False)
    whole: bool = False
    endpoint: str | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """The bytes that are there, at least one unless the body ended. Raises Transient when the connection breaks."""
        try:
            return self.response.read1(_CHUNK, decode_content=False)
        except Exception as error:
            raise network_failure(error, self.host) from error

    def abort(self) -> None:
        """End a `read` that waits in another thread."""
        abort(self.response)

    def close(self) -> None:
        """Let go: a body read to its end leaves its connection to the next request, any other ends it."""
        if getattr(self.response, "length_remaining", None) == 0:
            self.response.drain_conn()
        else:
            hang_up(self.response)


def open_body(
    opener: Opener,
    target: Target,
    file: RemoteFile,
    start: int,
    end: int | None,
    headers: Mapping[str, str],
    limits: Limits,
) -> Body:
    """Ask for these bytes (`end` is exclusive) and check that the answer can hold them."""
    span = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    answer, target = follow(opener, target, {**headers, **span}, limits)
    if not _in_range(answer, file, start):
        # Some servers know ranges only half; the file as a whole they know all the same.
        finish(answer)
        start = 0
        answer, target = follow(opener, target, headers, limits)
    if answer.status != 206:
        start = 0  # a server that ignores ranges sends the file from its first byte
    if trouble := _trouble(answer, file, start):
        hang_up(answer)
        raise Transient(f"{host(target.url)} sent {trouble} where {file.path} should be")
    return Body(start, host(target.url), answer, target.url if target.foreign else None, answer.status == 200)


def _in_range(answer: Answer, file: RemoteFile, start: int) -> bool:
    """Whether an answer to a range is of use: the whole file, or bytes of this file from `start` on."""
    if answer.status != 206:
        return answer.status != 416
    span = re.fullmatch(r"bytes (\d{1,19})-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    return span is not None and int(span[1]) == start and span[2] in {"*", str(file.size)}


def _trouble(answer: Answer, file: RemoteFile, start: int) -> str | None:
    """What came instead of the file, if something did."""
    html = "html" in answer.headers.get("Content-Type", "")
    # A captive portal's page need not say how long it is, and would cost all that came before it.
    unsaid = "none" if html and not file.path.endswith(".html") else str(file.size)
    whole = answer.status == 206 or answer.headers.get("Content-Length", unsaid) == str(file.size)
    plain = answer.headers.get("Content-Encoding", "identity").lower() in {"", "identity"}
    if whole and plain and _in_range(answer, file, start):
        return None
    return "an HTML page" if html else "something else"
