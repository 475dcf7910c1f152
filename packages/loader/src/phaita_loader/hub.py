"""The seam to the Hub: all that the rest of this package asks of it, and the only import of huggingface_hub.

Subclass `Hub` (or pass an object with the same methods) to serve files from elsewhere, as the tests do.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import urllib3
from huggingface_hub import constants, get_session, get_token, hf_hub_url
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # no __all__

from phaita_loader._http.client import HttpClient, Limits, Target
from phaita_loader._http.given_client import GivenClient
from phaita_loader._http.url import bare, basic_auth
from phaita_loader._http.urllib3_pool import GivenPool, Pool
from phaita_loader._hub.api import Page, list_commit, read_page
from phaita_loader._hub.body import Body, open_body
from phaita_loader._hub.endpoints import Endpoints
from phaita_loader._hub.token import checked_token, find_in_time, resolve_token
from phaita_loader.errors import NotCached
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.policy import answer_limit

__all__ = ["Body", "Hub"]

logger = logging.getLogger("phaita_loader")


class Hub:
    """The Hub, or mirrors of it, with a token and a cache folder; None takes what huggingface_hub's variables say.

    endpoints: one URL or several in order; when one fails, the next is used. The token goes to the first only.
    token: a token, False for none, None for the one `hf auth login` or HF_TOKEN gave.
    offline: True never makes a request, as HF_HUB_OFFLINE does.
    pool: a urllib3 PoolManager, or an object with its `request`, that makes all requests in its own way (proxies,
        TLS). Without one, a client that was given to huggingface_hub by `set_client_factory` makes them.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        token: str | bool | None = None,
        offline: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        pool: Any = None,
    ) -> None:
        given = [endpoints] if isinstance(endpoints, str) else list(endpoints or [constants.ENDPOINT])
        self._endpoints = Endpoints(given)
        self.cache_dir = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()
        self._offline = bool(offline)
        self._token = checked_token(token) if isinstance(token, str) else token
        self._given = None if pool is None else GivenPool(pool)
        self._pool = Pool()
        self._listed_by: dict[tuple[str, str], str] = {}

    def __repr__(self) -> str:
        token = "default" if self._token is None else "set" if self._token else "none"
        places = ", ".join(bare(url) for url in self.endpoints)
        return f"Hub({places}, token: {token}, offline: {self.offline}, cache: {self.cache_dir})"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints in the order of preference."""
        return self._endpoints.urls

    @property
    def offline(self) -> bool:
        """True if requests are forbidden, by this Hub's own setting or by HF_HUB_OFFLINE."""
        return self._offline or constants.is_offline_mode()

    def as_offline(self) -> Hub:
        """Return the same Hub, which makes no request."""
        twin = copy(self)
        twin._offline = True
        return twin

    def listing(
        self, repo_id: str, revision: str, *, timeout: float, keep: Callable[[str], bool] | None = None
    ) -> Listing:
        """Return the commit that the revision means now, and its files.

        timeout: seconds per socket operation; one request takes four times that at most, at each endpoint.
        keep: True for a path that can be needed, so that a repo of very many files is not held in memory.

        Raises Transient, NotFound, AccessDenied, NotCached (offline), Corrupt.
        """
        self._refuse_offline()
        first, limits = self.endpoints[0], Limits(timeout, timeout, timeout)

        def listed(endpoint: str) -> Listing:
            secret = find_in_time(lambda: self._secret(endpoint), answer_limit(timeout))

            def ask(url: str) -> Page:
                return read_page(self._client(), Target(url, secret), _HEADERS, limits)

            return list_commit(ask, bare(endpoint), repo_id, revision, keep)

        listing, endpoint = self._endpoints.first_that(listed, judge=first)
        if endpoint != first:
            message = "%s: commit and digests come from %s, since %s failed"
            logger.warning(message, repo_id, bare(endpoint), bare(first))
        self._listed_by[repo_id, listing.commit] = endpoint
        return replace(listing, endpoint=bare(endpoint))

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
        """Open the bytes [start, end) of a file by one GET (`end` None: to its end); the body may hold more or fewer.

        location: the signed URL of an earlier body, used while it is valid.
        connect, stall: seconds for the connection and the first byte, and for any later silence.

        The body begins at 0 where the server ignores ranges.
        Raises Transient, NotFound, AccessDenied, NotCached (offline).
        """
        self._refuse_offline()
        limits = Limits(connect, connect, stall)

        def opened(target: Target) -> Body:
            return open_body(self._client(), target, file, start, end, _HEADERS, limits)

        def served(endpoint: str) -> Body:
            url = hf_hub_url(repo_id, file.path, revision=commit, endpoint=bare(endpoint))
            return opened(Target(url, self._secret(endpoint)))

        # A signed URL holds its own rights, so no token goes along.
        if location:
            return opened(Target(location, foreign=True))
        # The endpoint that listed the commit knows whether a file exists.
        listed_by = self._listed_by.get((repo_id, commit), self.endpoints[0])
        body, endpoint = self._endpoints.first_that(served, judge=listed_by)
        body.endpoint = endpoint
        return body

    def leave(self, endpoint: str | None) -> None:
        """Use the next endpoint, because this one sent wrong bytes; do nothing for None, or one left before."""
        if endpoint is not None:
            self._endpoints.leave(endpoint)

    def select(self, paths: Iterable[str], allow: Sequence[str] | None, ignore: Sequence[str]) -> tuple[str, ...]:
        """Return the paths that match the globs, by the Hub's own rules, sorted."""
        return tuple(
            sorted(
                filter_repo_objects(
                    paths, allow_patterns=None if allow is None else list(allow), ignore_patterns=list(ignore)
                )
            )
        )

    def _client(self) -> HttpClient:
        if self._given is not None:
            return self._given
        return GivenClient(get_session()) if _client_is_given() else self._pool

    def _secret(self, endpoint: str) -> dict[str, str]:
        """Return the headers for this endpoint alone: the token if it is the first, else the password in its URL."""
        implicit = not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN
        token = resolve_token(self._token, implicit, get_token) if endpoint == self.endpoints[0] else None
        if token is not None:
            return {"Authorization": f"Bearer {token}"}
        user = basic_auth(endpoint)
        return {} if user is None else {"Authorization": urllib3.make_headers(basic_auth=user)["authorization"]}

    def _refuse_offline(self) -> None:
        if self.offline:
            raise NotCached(
                "offline mode is on, so no request is made to the Hub", hint="unset HF_HUB_OFFLINE to go online"
            )


def _user_agent() -> str:
    """Return huggingface_hub's user agent; its `build_hf_headers` may first ask the Hub about coding agents."""
    origin = constants.HF_HUB_USER_AGENT_ORIGIN
    names = [f"phaita-loader/{version('phaita-loader')}", f"hf_hub/{version('huggingface_hub')}"]
    return "; ".join([*names, f"python/{platform.python_version()}", *([f"origin/{origin}"] if origin else [])])


_HEADERS = {"Accept-Encoding": "identity", "User-Agent": _user_agent()}


def _client_is_given() -> bool:
    """True if `set_client_factory` was called; huggingface_hub has no public way to ask."""
    library = sys.modules.get("huggingface_hub.utils._http")
    default = getattr(library, "default_client_factory", None)
    return default is not None and getattr(library, "_GLOBAL_CLIENT_FACTORY", default) is not default
