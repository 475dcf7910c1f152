"""Connections: urllib3 with the proxies, the CA files and the trust store that huggingface_hub's own client uses."""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import truststore
import urllib3

from phaita_loader._http.client import Answer, Limits
from phaita_loader._http.redact import guard
from phaita_loader._http.response_head import heeding
from phaita_loader._http.url import Place, bare, basic_auth, place
from phaita_loader.errors import Unreachable

__all__ = ["GivenPool", "Pool", "proxy_for"]

_PROXY = "set HTTPS_PROXY to an http:// or socks5h:// proxy"
_PYSOCKS = "pip install PySocks\nor set HTTPS_PROXY to an http:// proxy"
_SOCKS = {"socks": "socks5h", "socks4": "socks4", "socks4a": "socks4a", "socks5": "socks5", "socks5h": "socks5h"}

guard("urllib3.connectionpool")


_MOST = 64  # connections kept for each host


class Pool:
    """Opens GET requests; connections are kept per host, and made anew in a forked child."""

    def __init__(self) -> None:
        self._managers: dict[str | None, _Kept] = {}
        self._trusted = cache(_trusting)  # a trust store is slow to read, and managers come and go with the network
        self._mutex = threading.Lock()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        return Pool, ()  # connections stay in their process

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Answer:
        """The answer to one GET as it comes: no redirect is followed, the body is not read.

        Raises urllib3's exceptions, and Unreachable for a proxy that can't be spoken to.
        """
        proxy, tries = proxy_for(url), 2
        while True:
            kept = self._kept(proxy)
            served, tries = place(url) in kept.served, tries - 1
            try:
                answer = _asked(kept.manager, url, headers, limits)
            except urllib3.exceptions.HTTPError as error:
                self._forget(proxy, kept)
                # An idle connection that had died unseen may be behind it: then a new one will do better.
                if not (tries and served and isinstance(error, urllib3.exceptions.ProtocolError)):
                    raise
            else:
                kept.served.add(place(url))
                return answer

    def _kept(self, proxy: str | None) -> _Kept:
        if self._process != os.getpid():
            # A socket shared with the parent would mix two answers, and a lock that another thread held stays locked.
            self._managers, self._mutex, self._process = {}, threading.Lock(), os.getpid()
        with self._mutex:
            if proxy not in self._managers:
                trusted = self._trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
                self._managers[proxy] = _Kept(_made(proxy, trusted))
            return self._managers[proxy]

    def _forget(self, proxy: str | None, kept: _Kept) -> None:
        """Idle connections of a network that went away would fail one by one, each after a silence of its own."""
        with self._mutex:
            if self._managers.get(proxy) is kept:
                del self._managers[proxy]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Connections, and the places they have had an answer from."""

    manager: urllib3.PoolManager
    served: set[Place] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class GivenPool:
    """A user's own urllib3 pool, or anything with its `request`, used as it is."""

    pool: Any

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Answer:
        """The answer to one GET as it comes. Raises what the pool raises."""
        return _asked(self.pool, url, headers, limits)


def _asked(manager: urllib3.PoolManager, url: str, headers: Mapping[str, str], limits: Limits) -> Answer:
    timeout = urllib3.Timeout(connect=limits.connect, read=limits.first_byte)
    answer = manager.request(
        "GET", url, headers=headers, timeout=timeout, redirect=False, retries=False, preload_content=False
    )
    # A server that announces the connection's end takes the socket out of urllib3's reach: it keeps its first limit.
    sock = getattr(getattr(answer, "connection", None), "sock", None)
    if sock is not None:
        sock.settimeout(limits.stall)
    return answer


_PROXIES = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")]
_PROXIES += [name.lower() for name in _PROXIES]


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (or the system's settings) names for this URL; None for a direct connection.

    Raises Unreachable for one that can't be spoken to.
    """
    if sys.platform == "linux" and not any(map(os.environ.get, _PROXIES)):
        return None  # `getproxies` reads the whole environment, for every request
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    kind = proxy.lower().partition("://")[0]
    if kind in _SOCKS and find_spec("socks") is None:
        raise Unreachable("the proxy variables name a SOCKS proxy, for which PySocks is missing", hint=_PYSOCKS)
    if kind not in {"http", "https", *_SOCKS}:
        raise Unreachable("the proxy variables name a proxy that is neither http nor https nor SOCKS", hint=_PROXY)
    return proxy


def _made(proxy: str | None, context: ssl.SSLContext) -> urllib3.PoolManager:
    manager = _plain(proxy, context)
    manager.pool_classes_by_scheme = heeding(manager.pool_classes_by_scheme)
    return manager


def _plain(proxy: str | None, context: ssl.SSLContext) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(maxsize=_MOST, ssl_context=context)
    if not proxy.lower().startswith("http"):
        return _through_socks(proxy, context)
    headers = urllib3.make_headers(proxy_basic_auth=basic_auth(proxy))
    return urllib3.ProxyManager(bare(proxy), proxy_headers=headers, maxsize=_MOST, ssl_context=context)


def _through_socks(proxy: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    from urllib3.contrib.socks import SOCKSProxyManager  # needs PySocks, which few have

    scheme, _, rest = proxy.partition("://")
    # "socks" alone is what the system settings of some desktops say.
    url = f"{_SOCKS[scheme.lower()]}://{rest}"
    user = urlsplit(url)
    name, password = (unquote(part) if part else part for part in (user.username, user.password))
    return SOCKSProxyManager(bare(url), name, password, maxsize=_MOST, ssl_context=context)


def _trusting(cafile: str | None, capath: str | None) -> ssl.SSLContext:
    """TLS as huggingface_hub's client does it: SSL_CERT_FILE, SSL_CERT_DIR, else the system's trust store."""
    if cafile or capath:
        return ssl.create_default_context(cafile=cafile or None, capath=capath or None)
    context = ssl.create_default_context()
    if sys.platform == "linux" and (context.cert_store_stats()["x509_ca"] or ssl.get_default_verify_paths().capath):
        # truststore reads the CA files again for every handshake, which a link that drops often pays dearly.
        return context
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
