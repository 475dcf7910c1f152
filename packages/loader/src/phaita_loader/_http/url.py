"""Parts of a URL that are shown, compared or checked."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

import urllib3

from phaita_loader.retry import Transient

__all__ = ["Origin", "bare", "basic_auth", "checked_endpoint", "checked_redirect", "host", "origin"]

Origin: TypeAlias = tuple[str, str | None, int | None]


def origin(url: str) -> Origin:
    """Return scheme, host and port: a token is sent to one origin only. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def host(url: str) -> str:
    """Return the host's name, for messages."""
    return urlsplit(url).hostname or url.partition("?")[0]


def bare(url: str) -> str:
    """Return the URL without the user and password it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def basic_auth(url: str) -> str | None:
    """Return the user and password that the URL holds, as urllib3 takes them."""
    parts = urlsplit(url)
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None


def checked_endpoint(url: str) -> str:
    """Return an endpoint in the form to which paths are added. Raises ValueError."""
    try:
        scheme, name, _ = origin(url)
    except ValueError:
        scheme, name = "", None
    if scheme not in {"http", "https"} or not name:
        raise ValueError(f"an endpoint must look like https://host, got {url.rpartition('@')[2]!r}")
    return url.rstrip("/")


def checked_redirect(old: str, location: str) -> str:
    """Return the URL that a redirect leads to, without a user. Raises Transient for one that can't be trusted."""
    try:
        new = bare(urljoin(old, location))
        scheme, name, _ = origin(new)
        # urllib3 is stricter than urllib: what it rejects now it would reject in the request.
        urllib3.util.parse_url(new)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise Transient(f"{host(old)} redirects to an invalid address") from error
    # From https to http the token and the bytes would travel in the clear.
    if not name or scheme not in {"http", "https"} or (scheme == "http" and urlsplit(old).scheme == "https"):
        raise Transient(f"{host(old)} redirects to an address that can't be trusted ({scheme[:20]})")
    return new
