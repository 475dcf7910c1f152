"""One GET to its answer: the client that makes it, its time limits, and the redirects that may be followed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from phaita_loader._classify import network_failure, status_failure
from phaita_loader._http.url import checked_redirect, host, origin
from phaita_loader.errors import ModelDownloadError
from phaita_loader.retry import Transient

__all__ = ["HttpClient", "Limits", "Response", "Target", "cancel", "close", "drain", "follow"]

_REDIRECTS_MAX = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SHORT = 4096  # bytes of a page that are worth reading to keep its connection


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for the connection, for the first byte of the answer, and for any silence after it."""

    connect: float
    first_byte: float
    stall: float


class Response(Protocol):
    """The part of urllib3's response that is used; other clients' responses are adapted to it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""

    @property
    def status(self) -> int:
        """The status code."""

    def read1(self, amt: int, *, decode_content: bool) -> bytes:
        """Return the bytes that are there, at least one unless the body ended."""

    def shutdown(self) -> None:
        """End a `read1` that waits in another thread."""

    def drain_conn(self) -> None:
        """Read the rest of the body, so that the connection serves again."""

    def close(self) -> None:
        """End the connection."""


class HttpClient(Protocol):
    """A client that makes single GET requests."""

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Response:
        """Return the response with its body unread: no redirect followed, nothing retried."""


@dataclass(frozen=True, slots=True)
class Target:
    """A request target: its URL, and headers that are dropped when a redirect leaves the origin.

    foreign: True once a redirect has left the origin.
    """

    url: str = field(repr=False)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    foreign: bool = False

    def redirected(self, location: str) -> Target:
        """Return the target that a redirect leads to. Raises Transient for one that can't be trusted."""
        url = checked_redirect(self.url, location)
        if origin(url) == origin(self.url):
            return replace(self, url=url)
        return Target(url, foreign=True)


def follow(client: HttpClient, target: Target, headers: Mapping[str, str], limits: Limits) -> tuple[Response, Target]:
    """Return the response at the end of all redirects, and its target.

    Its status is 200 or 206, or 416 where a range was asked for. Raises Transient, NotFound, AccessDenied.
    """
    # Redirects are followed here and not by the client, which would send the token along.
    for _ in range(_REDIRECTS_MAX):
        try:
            response = client.get(target.url, {**headers, **target.secret}, limits)
        except ModelDownloadError:
            raise
        except Exception as error:
            raise network_failure(error, host(target.url)) from error
        if response.status in {200, 206} or (response.status == 416 and "Range" in headers):
            return response, target
        location = response.headers.get("Location") if response.status in _REDIRECTS else None
        if location is None:
            raise _refusal(response, target)
        drain(response)
        target = target.redirected(location)
    raise Transient(f"{host(target.url)} redirects in circles")


def _refusal(response: Response, target: Target) -> Exception:
    """Close the response and return the error for its status."""
    close(response)
    return status_failure(response.status, response.headers, "cdn" if target.foreign else "hub", datetime.now(UTC))


def cancel(response: Response) -> None:
    """End a read that waits in another thread."""
    with suppress(ValueError, RuntimeError, OSError):  # it has ended already
        response.shutdown()


def close(response: Response) -> None:
    """End the connection, and give its place back to a pool that has only so many."""
    response.close()
    getattr(response, "release_conn", lambda: None)()


def drain(response: Response) -> None:
    """Read a redirect's few bytes, so that the connection serves again; close it where the page is long."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) <= _SHORT:
        response.drain_conn()
    else:
        close(response)
