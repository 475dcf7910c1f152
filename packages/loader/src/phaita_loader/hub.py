"""Where: the Hub as the rest of this package sees it, and the only import of huggingface_hub.

Subclass `Hub` (or pass an object with the same methods) to serve files from elsewhere, as the tests do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from copy import copy
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urljoin, urlsplit

import urllib3
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, filter_repo_objects  # type: ignore[attr-defined]  # no __all__

from phaita_loader._body import Body, asking, finish, in_range, opened
from phaita_loader._classify import LOGIN, Origin, network_failure, status_failure
from phaita_loader._pool import PROXY, Pool, proxy_for
from phaita_loader.errors import AccessDenied, Corrupt, NotCached, Unreachable
from phaita_loader.listing import Listing, RemoteFile, listed_commit, listed_file
from phaita_loader.retry import Transient

__all__ = ["Body", "Hub"]

_HOPS = 5
_MANY = 10_000  # beyond so many files the Hub's short listing is cut off


class Hub:
    """The Hub, a mirror or several, with a token and a cache folder; None takes what huggingface_hub's variables say.

    endpoints: one URL or several, the first preferred; the token goes to the first only.
    token: a token, False for none, None for the one `hf auth login` or HF_TOKEN gave.
    offline: True never makes a request, as HF_HUB_OFFLINE does.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        token: str | bool | None = None,
        offline: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        given = [endpoints] if isinstance(endpoints, str) else list(endpoints or [constants.ENDPOINT])
        self.endpoints = tuple(_checked_endpoint(url) for url in given)
        self.cache_dir = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()
        self._offline = bool(offline)
        self._token = _checked_token(token)
        self._pool = Pool()

    def __repr__(self) -> str:
        token = "default" if self._token is None else "set" if self._token else "none"
        places = ", ".join(_bare(url) for url in self.endpoints)
        return f"Hub({places}, token: {token}, offline: {self.offline}, cache: {self.cache_dir})"

    @property
    def offline(self) -> bool:
        """Whether requests are forbidden, by this Hub's own setting or by HF_HUB_OFFLINE."""
        return self._offline or constants.is_offline_mode()

    def as_offline(self) -> Hub:
        """The same Hub, asked for nothing."""
        twin = copy(self)
        twin._offline = True
        return twin

    def listing(self, repo_id: str, revision: str, *, timeout: float) -> Listing:
        """The commit that the revision means now, and its files; `timeout` is seconds per socket operation.

        Raises Transient, NotFound, AccessDenied, NotCached (offline), Corrupt.
        """
        self._refuse_offline()
        failure: Exception | None = None
        for endpoint in self.endpoints:
            proxy_for(endpoint)  # one that can't be used is no reason to wait
            try:
                api = HfApi(endpoint, token=self._token_for(endpoint), **_LIBRARY)
                return _listed(api, repo_id, revision, timeout)
            except Exception as error:
                failure = _translated(error, _host(endpoint))
                if not isinstance(failure, Transient):
                    raise failure from error
        raise failure or Unreachable("no endpoint was given")

    def open_file(
        self,
        repo_id: str,
        commit: str,
        file: RemoteFile,
        start: int,
        end: int | None = None,
        *,
        location: str | None,
        connect: float,
        stall: float,
    ) -> Body:
        """One GET of a file from byte `start` on, up to `end` (exclusive; None: all); the answer may hold more or less.

        An earlier signed `location` is used while it lasts. The body begins at 0 where the server ignores ranges.

        `connect` and `stall` are seconds: for the connection and the first byte, and for any later silence.
        Raises Transient, NotFound, AccessDenied, NotCached (offline).
        """
        self._refuse_offline()
        failure: Exception | None = None
        for endpoint in self.endpoints[: 1 if location else None]:
            url = location or hf_hub_url(repo_id, file.path, revision=commit, endpoint=endpoint)
            try:
                cross = location is not None
                response, url, cross = self._follow(url, endpoint, asking(start, end), cross=cross, connect=connect)
                if not in_range(response, file, start):
                    # Some servers know ranges only half; the file as a whole they know all the same.
                    finish(response)
                    start = 0
                    response, url, cross = self._follow(url, endpoint, {}, cross=cross, connect=connect)
                found = url if cross else None
                return opened(response, file, start, host=_host(url), location=found, stall=stall)
            except Transient as error:
                failure = error
        raise failure or Unreachable("no endpoint was given")

    def select(self, paths: Iterable[str], allow: Sequence[str] | None, ignore: Sequence[str]) -> tuple[str, ...]:
        """The paths that the globs leave, by the Hub's own rules, sorted."""
        return tuple(
            sorted(
                filter_repo_objects(
                    paths, allow_patterns=None if allow is None else list(allow), ignore_patterns=list(ignore)
                )
            )
        )

    def _follow(
        self, url: str, endpoint: str, span: dict[str, str], *, cross: bool, connect: float
    ) -> tuple[urllib3.BaseHTTPResponse, str, bool]:
        for _ in range(_HOPS):
            headers = {"Accept-Encoding": "identity"} | span | self._headers(None if cross else endpoint)
            try:
                response = self._pool.get(url, headers, connect=connect, first_byte=connect)
            except Exception as error:
                raise network_failure(error, _host(url)) from error
            if response.status in {200, 206} or (response.status == 416 and span):
                return response, url, cross
            target = response.headers.get("Location") if response.status in {301, 302, 303, 307, 308} else None
            if target is None:
                raise _refused(response, "cdn" if cross else "hub")
            finish(response)
            url = _checked_hop(url, urljoin(url, target))
            cross = cross or _origin(url) != _origin(endpoint)
        raise Transient(f"{_host(url)} redirects in circles")

    def _headers(self, endpoint: str | None) -> dict[str, str]:
        """huggingface_hub's user agent, and its token for an endpoint that may have it."""
        token = False if endpoint is None else self._token_for(endpoint)
        headers: dict[str, str] = build_hf_headers(token=token, **_LIBRARY)
        return headers

    def _token_for(self, endpoint: str) -> str | bool | None:
        return self._token if endpoint == self.endpoints[0] else False

    def _refuse_offline(self) -> None:
        if self.offline:
            raise NotCached("offline mode is on, so the Hub can't be asked", hint="unset HF_HUB_OFFLINE to go online")


class _Library(TypedDict):
    library_name: str
    library_version: str


_LIBRARY = _Library(library_name="phaita-loader", library_version=version("phaita-loader"))


def _listed(api: HfApi, repo_id: str, revision: str, timeout: float) -> Listing:
    info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=timeout)
    commit = listed_commit(info.sha)
    rows: list[Any] = [(row.rfilename, row.size, row.blob_id, row.lfs) for row in info.siblings or []]
    if len(rows) >= _MANY or any(size is None or blob is None for _, size, blob, _ in rows):
        tree = api.list_repo_tree(repo_id, recursive=True, revision=commit)
        rows = [(row.path, row.size, row.blob_id, row.lfs) for row in tree if isinstance(row, RepoFile)]
    return Listing(commit, tuple(listed_file(path, size, blob, lfs and lfs.sha256) for path, size, blob, lfs in rows))


def _refused(response: urllib3.BaseHTTPResponse, origin: Origin) -> Exception:
    response.close()
    return status_failure(response.status, response.headers, origin, datetime.now(UTC))


def _translated(error: Exception, host: str) -> Exception:
    """What went wrong in huggingface_hub, in this package's words."""
    if isinstance(error, Corrupt):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return NotCached("offline mode is on, so the Hub can't be asked")
    if isinstance(error, HfHubHTTPError):
        return status_failure(error.response.status_code, error.response.headers, "hub", datetime.now(UTC))
    if isinstance(error, ImportError):
        return Unreachable("the proxy variables name a SOCKS proxy, for which a package is missing", hint=PROXY)
    if isinstance(error, LocalTokenNotFoundError):
        return AccessDenied("no token was found, and token=True asks for one", hint=LOGIN)
    if isinstance(error, ValueError | TypeError | KeyError | AttributeError):
        # A captive portal answers everything with a page of its own.
        return Transient(f"{host} answered with something that is no listing")
    return network_failure(error, host)


def _checked_token(token: str | bool | None) -> str | bool | None:
    """A token as a header can carry it: one that was read from a file may end with a newline."""
    if not isinstance(token, str):
        return token
    if re.search(r"[^!-~]", token.strip()):
        raise ValueError("the token holds characters that no token has")
    return token.strip()


def _checked_endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"an endpoint must look like https://host, got {url!r}")
    return url.rstrip("/")


def _bare(url: str) -> str:
    """The URL without the user and password it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _checked_hop(old: str, new: str) -> str:
    scheme = urlsplit(new).scheme
    if scheme not in {"http", "https"} or (scheme == "http" and urlsplit(old).scheme == "https"):
        raise Transient(f"{_host(old)} redirects to a place that can't be trusted ({scheme})")
    return new


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host(url: str) -> str:
    return urlsplit(url).hostname or url.partition("?")[0]
