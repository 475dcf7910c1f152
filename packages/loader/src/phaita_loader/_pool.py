"""Connections: urllib3 with the proxies, the CA files and the trust store that huggingface_hub's own client uses."""

from __future__ import annotations

import logging
import os
import re
import ssl
import sys
import threading
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import truststore
import urllib3

from phaita_loader.errors import Unreachable

__all__ = ["PROXY", "Pool", "proxy_for"]

PROXY = "set HTTPS_PROXY to an http:// proxy; SOCKS is not supported"


class _NoSignature(logging.Filter):
    """Takes the query off signed URLs in urllib3's debug lines: whoever has it has the file."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_SIGNED.sub("?...", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


_SIGNED = re.compile(r"\?\S*(?:signature|x-amz-|key-pair|token)\S*", re.IGNORECASE)
logging.getLogger("urllib3.connectionpool").addFilter(_NoSignature())


class Pool:
    """Opens GET requests; connections are kept per host, and made anew in a forked child."""

    def __init__(self) -> None:
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._mutex = threading.Lock()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        return Pool, ()  # connections stay in their process

    def get(self, url: str, headers: dict[str, str], *, connect: float, first_byte: float) -> urllib3.BaseHTTPResponse:
        """The answer to one GET as it comes: no redirect is followed, nothing is retried, the body is not read.

        Raises urllib3's exceptions.
        """
        timeout, proxy = urllib3.Timeout(connect=connect, read=first_byte), proxy_for(url)
        manager = self._manager(proxy)
        try:
            return manager.request(
                "GET", url, headers=headers, timeout=timeout, redirect=False, retries=False, preload_content=False
            )
        except urllib3.exceptions.HTTPError:
            self._forget(proxy, manager)
            raise

    def _manager(self, proxy: str | None) -> urllib3.PoolManager:
        if self._process != os.getpid():
            # A socket shared with the parent would mix two answers, and a lock that another thread held stays locked.
            self._managers, self._mutex, self._process = {}, threading.Lock(), os.getpid()
        with self._mutex:  # a trust store is slow to read: once will do for all threads
            if proxy not in self._managers:
                self._managers[proxy] = _made(proxy)
            return self._managers[proxy]

    def _forget(self, proxy: str | None, manager: urllib3.PoolManager) -> None:
        """Idle connections of a network that went away would fail one by one, each after a silence of its own."""
        with self._mutex:
            if self._managers.get(proxy) is manager:
                del self._managers[proxy]


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (or the system's settings) names for this URL; None for a direct connection.

    Raises Unreachable for one that can't be spoken to.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")):
        raise Unreachable("the proxy variables name a proxy that is neither http nor https", hint=PROXY)
    return proxy


def _made(proxy: str | None) -> urllib3.PoolManager:
    context = ssl_context()
    if proxy is None:
        return urllib3.PoolManager(maxsize=16, ssl_context=context)
    parts = urlsplit(proxy)
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    headers = urllib3.make_headers(proxy_basic_auth=user)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return urllib3.ProxyManager(bare, proxy_headers=headers, maxsize=16, ssl_context=context)


def ssl_context() -> ssl.SSLContext:
    """TLS as huggingface_hub's client does it: SSL_CERT_FILE, SSL_CERT_DIR, else the system's trust store."""
    cafile, capath = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if cafile or capath:
        return ssl.create_default_context(cafile=cafile or None, capath=capath or None)
    context = ssl.create_default_context()
    if sys.platform == "linux" and (context.cert_store_stats()["x509_ca"] or ssl.get_default_verify_paths().capath):
        # truststore reads the CA files again for every handshake, which a link that drops often pays dearly.
        return context
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
