"""What of a URL is told, compared or trusted."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

import urllib3

from phaita_loader.retry import Transient

__all__ = ["Place", "bare", "basic_auth", "checked_endpoint", "checked_hop", "host", "place"]

Place: TypeAlias = tuple[str, str | None, int | None]


def place(url: str) -> Place:
    """Scheme, host and port: what has to be the same for a token to go along. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def host(url: str) -> str:
    """The host's name, for messages."""
    return urlsplit(url).hostname or url.partition("?")[0]


def bare(url: str) -> str:
    """The URL without the user and password it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def basic_auth(url: str) -> str | None:
    """The user and password that the URL holds, as urllib3 takes them."""
    parts = urlsplit(url)
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None


def checked_endpoint(url: str) -> str:
    """An endpoint as paths are added to it. Raises ValueError."""
    try:
        scheme, name, _ = place(url)
    except ValueError:
        scheme, name = "", None
    if scheme not in {"http", "https"} or not name:
        raise ValueError(f"an endpoint must look like https://host, got {url.rpartition('@')[2]!r}")
    return url.rstrip("/")


def checked_hop(old: str, location: str) -> str:
    """Where a redirect leads, without the user it may name. Raises Transient for a place that can't be trusted."""
    try:
        new = bare(urljoin(old, location))
        scheme, name, _ = place(new)
        urllib3.util.parse_url(new)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise Transient(f"{host(old)} redirects to something that is no address") from error
    if not name or scheme not in {"http", "https"} or (scheme == "http" and urlsplit(old).scheme == "https"):
        raise Transient(f"{host(old)} redirects to a place that can't be trusted ({scheme[:20]})")
    return new
