"""Where: the Hub as the rest of this package sees it, and the only import of huggingface_hub.

Subclass `Hub` (or pass an object with the same methods) to serve files from elsewhere, as the tests do.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from huggingface_hub import constants, get_session, get_token, hf_hub_url
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # no __all__

from phaita_loader._bounded import bounded
from phaita_loader._classify import LOGIN
from phaita_loader._http.client import Limits, Opener, Target
from phaita_loader._http.given_client import GivenClient
from phaita_loader._http.url import bare, basic_auth
from phaita_loader._http.urllib3_pool import GivenPool, Pool
from phaita_loader._hub.api import Page, list_commit, read_page
from phaita_loader._hub.body import Body, open_body
from phaita_loader._hub.endpoints import Endpoints
from phaita_loader.errors import AccessDenied, NotCached
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.retry import Transient

__all__ = ["Body", "Hub"]

T = TypeVar("T")

logger = logging.getLogger("phaita_loader")


class Hub:
    """The Hub, a mirror or several, with a token and a cache folder; None takes what huggingface_hub's variables say.

    endpoints: one URL or several in order; one that fails is left for the next. The token goes to the first only.
    token: a token, False for none, None for the one `hf auth login` or HF_TOKEN gave.
    offline: True never makes a request, as HF_HUB_OFFLINE does.
    pool: a urllib3 PoolManager, or what has its `request`, to make all requests as it likes (proxies, TLS).
        Without one, a client that was given to huggingface_hub by `set_client_factory` makes them.
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
        self._token = _checked_token(token) if isinstance(token, str) else token
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
        """Whether requests are forbidden, by this Hub's own setting or by HF_HUB_OFFLINE."""
        return self._offline or constants.is_offline_mode()

    def as_offline(self) -> Hub:
        """The same Hub, asked for nothing."""
        twin = copy(self)
        twin._offline = True
        return twin

    def listing(
        self, repo_id: str, revision: str, *, timeout: float, keep: Callable[[str], bool] | None = None
    ) -> Listing:
        """The commit that the revision means now, and its files.

        `timeout` is seconds per socket operation; one request takes four times that at most, each endpoint its own.
        `keep` says of a path whether it can be needed, so that a repo of very many files is not held in memory.
        Raises Transient, NotFound, AccessDenied, NotCached (offline), Corrupt.
        """
        self._refuse_offline()
        first, limits = self.endpoints[0], Limits(timeout, timeout, timeout)

        def listed(endpoint: str) -> Listing:
            secret = _in_time(lambda: self._secret(endpoint), 4 * timeout)

            def ask(url: str) -> Page:
                return read_page(self._opener(), Target(url, secret), _HEADERS, limits)

            return list_commit(ask, bare(endpoint), repo_id, revision, keep)

        listing, endpoint = self._endpoints.first_that(listed, judge=first)
        if endpoint != first:
            told = "%s: commit and digests come from %s, since %s failed"
            logger.warning(told, repo_id, bare(endpoint), bare(first))
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
        """One GET of a file from byte `start` on, up to `end` (exclusive; None: all); the answer may hold more or less.

        An earlier signed `location` is used while it lasts. The body begins at 0 where the server ignores ranges.
        `connect` and `stall` are seconds: for the connection and the first byte, and for any later silence.
        Raises Transient, NotFound, AccessDenied, NotCached (offline).
        """
        self._refuse_offline()
        limits = Limits(connect, connect, stall)

        def opened(target: Target) -> Body:
            return open_body(self._opener(), target, file, start, end, _HEADERS, limits)

        def served(endpoint: str) -> Body:
            url = hf_hub_url(repo_id, file.path, revision=commit, endpoint=bare(endpoint))
            return opened(Target(url, self._secret(endpoint)))

        if location:
            return opened(Target(location, foreign=True))
        listed_by = self._listed_by.get((repo_id, commit), self.endpoints[0])
        body, endpoint = self._endpoints.first_that(served, judge=listed_by)
        body.endpoint = endpoint
        return body

    def leave(self, endpoint: str | None) -> None:
        """Go on with the next endpoint, because this one's answers are of no use; None, or one left before, is none."""
        if endpoint is not None:
            self._endpoints.leave(endpoint)

    def select(self, paths: Iterable[str], allow: Sequence[str] | None, ignore: Sequence[str]) -> tuple[str, ...]:
        """The paths that the globs leave, by the Hub's own rules, sorted."""
        return tuple(
            sorted(
                filter_repo_objects(
                    paths, allow_patterns=None if allow is None else list(allow), ignore_patterns=list(ignore)
                )
            )
        )

    def _opener(self) -> Opener:
        if self._given is not None:
            return self._given
        return GivenClient(get_session()) if _client_is_given() else self._pool

    def _secret(self, endpoint: str) -> dict[str, str]:
        """What only this endpoint may see: the token if it is the first, else the password that its URL holds."""
        token = _token(self._token) if endpoint == self.endpoints[0] else None
        if token is not None:
            return {"Authorization": f"Bearer {token}"}
        user = basic_auth(endpoint)
        return {} if user is None else {"Authorization": urllib3.make_headers(basic_auth=user)["authorization"]}

    def _refuse_offline(self) -> None:
        if self.offline:
            raise NotCached("offline mode is on, so the Hub can't be asked", hint="unset HF_HUB_OFFLINE to go online")


def _user_agent() -> str:
    """As huggingface_hub tells it, but not by `build_hf_headers`, which may stop to ask the Hub about coding agents."""
    origin = constants.HF_HUB_USER_AGENT_ORIGIN
    names = [f"phaita-loader/{version('phaita-loader')}", f"hf_hub/{version('huggingface_hub')}"]
    return "; ".join([*names, f"python/{platform.python_version()}", *([f"origin/{origin}"] if origin else [])])


_HEADERS = {"Accept-Encoding": "identity", "User-Agent": _user_agent()}


def _client_is_given() -> bool:
    """Whether `set_client_factory` was called; nothing public tells."""
    library = sys.modules.get("huggingface_hub.utils._http")
    default = getattr(library, "default_client_factory", None)
    return default is not None and getattr(library, "_GLOBAL_CLIENT_FACTORY", default) is not default


def _token(asked: str | bool | None) -> str | None:
    """The token to send. Raises AccessDenied, or Transient where it has to be fetched and can't be."""
    if isinstance(asked, str):
        return asked or None
    if asked is False or (asked is None and constants.HF_HUB_DISABLE_IMPLICIT_TOKEN):
        return None
    try:
        found = _checked_token(get_token())
    except ValueError as error:
        raise AccessDenied(f"{error}", hint=LOGIN) from None
    except Exception as error:
        raise Transient(f"no token could be had ({type(error).__name__})") from error
    if asked and not found:
        raise AccessDenied("no token was found, and token=True asks for one", hint=LOGIN)
    return found or None


def _in_time(call: Callable[[], T], seconds: float) -> T:
    """The call's result, though it may have to ask somebody. Raises Transient."""
    try:
        return bounded(call, seconds)
    except TimeoutError as error:
        raise Transient(f"no token could be had within {seconds:g} s") from error


def _checked_token(token: str | None) -> str | None:
    """A token as a header can carry it: one that was read from a file may end with a newline."""
    if token is None:
        return None
    if re.search(r"[^!-~]", token.strip()):
        raise ValueError("the token holds characters that no token has")
    return token.strip()
