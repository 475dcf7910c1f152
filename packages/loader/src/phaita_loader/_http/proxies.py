"""Proxies: the one that the environment names for a URL, and urllib3's manager for it."""

from __future__ import annotations

import os
import ssl
import sys
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from phaita_loader._http.url import bare, basic_auth
from phaita_loader.errors import Unreachable

__all__ = ["manager_for", "proxy_for"]

_CONNECTIONS_MAX = 64  # kept for each host
_USE_HTTP = "set HTTPS_PROXY to an http:// or socks5h:// proxy"
_USE_PYSOCKS = "pip install PySocks\nor set HTTPS_PROXY to an http:// proxy"
# "socks" alone is what the system settings of some desktops say.
_SOCKS = {"socks": "socks5h", "socks4": "socks4", "socks4a": "socks4a", "socks5": "socks5", "socks5h": "socks5h"}
_VARIABLES = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")]
_VARIABLES += [name.lower() for name in _VARIABLES]


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (or the system's settings) names for this URL; None for none.

    Raises Unreachable for a proxy of an unknown kind.
    """
    if sys.platform == "linux" and not any(map(os.environ.get, _VARIABLES)):
        return None  # `getproxies` reads the whole environment, which is slow for every request
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    kind = proxy.lower().partition("://")[0]
    if kind in _SOCKS and find_spec("socks") is None:
        raise Unreachable("the proxy variables name a SOCKS proxy, for which PySocks is missing", hint=_USE_PYSOCKS)
    if kind not in {"http", "https", *_SOCKS}:
        raise Unreachable("the proxy variables name a proxy that is neither http nor https nor SOCKS", hint=_USE_HTTP)
    return proxy


def manager_for(proxy: str | None, context: ssl.SSLContext) -> urllib3.PoolManager:
    """Return urllib3's manager of connections through this proxy; None makes direct ones."""
    if proxy is None:
        return urllib3.PoolManager(maxsize=_CONNECTIONS_MAX, ssl_context=context)
    if not proxy.lower().startswith("http"):
        return _socks_manager(proxy, context)
    # urllib3 does not take the user and password from a proxy's URL by itself.
    headers = urllib3.make_headers(proxy_basic_auth=basic_auth(proxy))
    return urllib3.ProxyManager(bare(proxy), proxy_headers=headers, maxsize=_CONNECTIONS_MAX, ssl_context=context)


def _socks_manager(proxy: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    from urllib3.contrib.socks import SOCKSProxyManager  # needs PySocks, which is optional

    scheme, _, rest = proxy.partition("://")
    url = f"{_SOCKS[scheme.lower()]}://{rest}"
    user = urlsplit(url)
    name, password = (unquote(part) if part else part for part in (user.username, user.password))
    return SOCKSProxyManager(bare(url), name, password, maxsize=_CONNECTIONS_MAX, ssl_context=context)
