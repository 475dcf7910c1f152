"""urllib3's connections, with the CA files and the trust store that huggingface_hub's own client uses."""

from __future__ import annotations

import os
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import truststore
import urllib3

from phaita_loader._http.client import Limits, Response
from phaita_loader._http.proxies import manager_for, proxy_for
from phaita_loader._http.redact import redact_logger
from phaita_loader._http.response_head import with_limited_heads
from phaita_loader._http.url import Origin, origin

__all__ = ["GivenPool", "Pool"]

redact_logger("urllib3.connectionpool")


class Pool:
    """Makes GET requests; connections are kept per host, and made anew in a forked child."""

    def __init__(self) -> None:
        self._managers: dict[str | None, _Kept] = {}
        self._tls = cache(_tls_context)  # a trust store is slow to read, and managers come and go with the network
        self._mutex = threading.Lock()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        return Pool, ()  # connections stay in their process

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Response:
        """Return the response to one GET: no redirect is followed, the body is not read.

        Raises urllib3's exceptions, and Unreachable for a proxy of an unknown kind.
        """
        proxy, tries = proxy_for(url), 2
        while True:
            kept = self._kept(proxy)
            served, tries = origin(url) in kept.served, tries - 1
            try:
                response = _request(kept.manager, url, headers, limits)
            except urllib3.exceptions.HTTPError as error:
                # The other idle connections of this manager took the same way and are likely dead too.
                self._forget(proxy, kept)
                # The cause may be an idle connection that had died unseen: then a new one will do better.
                if not (tries and served and isinstance(error, urllib3.exceptions.ProtocolError)):
                    raise
            else:
                kept.served.add(origin(url))
                return response

    def _kept(self, proxy: str | None) -> _Kept:
        if self._process != os.getpid():
            # A socket shared with the parent would mix two responses, and a lock that another thread held stays locked.
            self._managers, self._mutex, self._process = {}, threading.Lock(), os.getpid()
        with self._mutex:
            if proxy not in self._managers:
                trusted = self._tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
                self._managers[proxy] = _Kept(_new_manager(proxy, trusted))
            return self._managers[proxy]

    def _forget(self, proxy: str | None, kept: _Kept) -> None:
        """Drop all idle connections: those of a network that went away would fail one by one, each after a timeout."""
        with self._mutex:
            if self._managers.get(proxy) is kept:
                del self._managers[proxy]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A connection manager, and the origins that have answered it."""

    manager: urllib3.PoolManager
    served: set[Origin] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class GivenPool:
    """A user's own urllib3 pool, or anything with its `request`, used as it is."""

    pool: Any

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Response:
        """Return the response to one GET with its body unread. Raises what the pool raises."""
        return _request(self.pool, url, headers, limits)


def _request(manager: urllib3.PoolManager, url: str, headers: Mapping[str, str], limits: Limits) -> Response:
    timeout = urllib3.Timeout(connect=limits.connect, read=limits.first_byte)
    response = manager.request(
        "GET", url, headers=headers, timeout=timeout, redirect=False, retries=False, preload_content=False
    )
    # With "Connection: close" urllib3 no longer has the socket, which then keeps the limit of the first byte.
    sock = getattr(getattr(response, "connection", None), "sock", None)
    if sock is not None:
        sock.settimeout(limits.stall)
    return response


def _new_manager(proxy: str | None, context: ssl.SSLContext) -> urllib3.PoolManager:
    manager = manager_for(proxy, context)
    manager.pool_classes_by_scheme = with_limited_heads(manager.pool_classes_by_scheme)
    return manager


def _tls_context(cafile: str | None, capath: str | None) -> ssl.SSLContext:
    """Return TLS settings as huggingface_hub's: SSL_CERT_FILE, SSL_CERT_DIR, else the system's trust store."""
    if cafile or capath:
        return ssl.create_default_context(cafile=cafile or None, capath=capath or None)
    context = ssl.create_default_context()
    if sys.platform == "linux" and (context.cert_store_stats()["x509_ca"] or ssl.get_default_verify_paths().capath):
        # truststore reads the CA files again for every handshake, which is slow on a link that drops often.
        return context
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
