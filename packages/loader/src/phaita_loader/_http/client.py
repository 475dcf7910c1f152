"""One GET to its answer: what opens it, what bounds it, and which redirects it may follow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from phaita_loader._classify import network_failure, status_failure
from phaita_loader._http.url import checked_hop, host, place
from phaita_loader.errors import ModelDownloadError
from phaita_loader.retry import Transient

__all__ = ["Answer", "Limits", "Opener", "Target", "abort", "finish", "follow", "hang_up"]

_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SHORT = 4096  # bytes of a page that are worth reading to keep its connection


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for the connection, for the first byte of the answer, and for any silence after it."""

    connect: float
    first_byte: float
    stall: float


class Answer(Protocol):
    """As much of urllib3's response as is used; other clients' are brought into this form."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, however it is spelt."""

    @property
    def status(self) -> int:
        """The status code."""

    def read1(self, amt: int, *, decode_content: bool) -> bytes:
        """The bytes that are there, at least one unless the body ended."""

    def shutdown(self) -> None:
        """End a `read1` that waits in another thread."""

    def drain_conn(self) -> None:
        """Read the little that is left and let the connection serve again."""

    def close(self) -> None:
        """End the connection."""


class Opener(Protocol):
    """Whatever makes requests."""

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Answer:
        """The answer as it comes: no redirect followed, nothing retried, no body read."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, and the headers that nobody sees once the way to it has left the place where it began."""

    url: str = field(repr=False)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    foreign: bool = False

    def hop(self, location: str) -> Target:
        """Where a redirect leads. Raises Transient for a place that can't be trusted."""
        url = checked_hop(self.url, location)
        if place(url) == place(self.url):
            return replace(self, url=url)
        return Target(url, foreign=True)


def follow(opener: Opener, target: Target, headers: Mapping[str, str], limits: Limits) -> tuple[Answer, Target]:
    """The answer at the end of all redirects, and where that was: a 200 or 206, or a 416 where a range was asked for.

    Raises Transient, NotFound, AccessDenied.
    """
    for _ in range(_HOPS):
        try:
            answer = opener.get(target.url, {**headers, **target.secret}, limits)
        except ModelDownloadError:
            raise
        except Exception as error:
            raise network_failure(error, host(target.url)) from error
        if answer.status in {200, 206} or (answer.status == 416 and "Range" in headers):
            return answer, target
        location = answer.headers.get("Location") if answer.status in _REDIRECTS else None
        if location is None:
            raise _refused(answer, target)
        finish(answer)
        target = target.hop(location)
    raise Transient(f"{host(target.url)} redirects in circles")


def _refused(answer: Answer, target: Target) -> Exception:
    """The error that a status means."""
    hang_up(answer)
    return status_failure(answer.status, answer.headers, "cdn" if target.foreign else "hub", datetime.now(UTC))


def abort(answer: Answer) -> None:
    """End a read that waits in another thread."""
    with suppress(ValueError, RuntimeError, OSError):  # already over
        answer.shutdown()


def hang_up(answer: Answer) -> None:
    """End the connection, and give its place back to a pool that has only so many."""
    answer.close()
    getattr(answer, "release_conn", lambda: None)()


def finish(answer: Answer) -> None:
    """Read a redirect's few bytes, so that the connection serves again; a long page is not worth it."""
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) <= _SHORT:
        answer.drain_conn()
    else:
        hang_up(answer)
