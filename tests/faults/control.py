"""One case's own proxies: toxics on, toxics off, bytes counted. Every control call is bounded in time."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from urllib.parse import urlsplit

import requests
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
from toxiproxy.proxy import Proxy
from toxiproxy.server import Toxiproxy

from tests.faults.build import ToxiproxyError
from tests.faults.schema import Toxic
from tests.faults.server import HOST, Server

_SETTLE_SECONDS = 2.0
_SENT = "toxiproxy_proxy_sent_bytes_total{"


class Proxies:
    """A proxy in front of each origin given: `urls["hub"]` stands in for the Hub's own URL.

    Raises ToxiproxyError when the server refuses something, ToxiproxyDied when it ends or does not answer within
    `patience` seconds.
    """

    def __init__(self, server: Server, origins: dict[str, str], patience: float = 10.0) -> None:
        self._server = server
        self._patience = patience
        self._case = uuid.uuid4().hex
        self._origins = origins
        self._proxies: dict[str, Proxy] = {}
        self._held: dict[str, socket.socket] = {}
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Proxies:
        for origin, url in self._origins.items():
            with self._call(f"create a proxy for {origin}"):
                proxy = Toxiproxy().create(upstream=urlsplit(url).netloc, name=f"{self._case}-{origin}")
            self._proxies[origin] = proxy
            self.urls[origin] = f"http://{HOST}:{proxy.listen.rpartition(':')[2]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for sock in self._held.values():
            sock.close()
        # After the server's death there is nothing to take down, and the first error says more.
        with suppress_if(error is not None, ToxiproxyError):
            for proxy in self._proxies.values():
                with self._call("remove a proxy"):
                    proxy.destroy()

    def disturb(self, origins: Sequence[str], toxics: Sequence[Toxic]) -> None:
        """Put the toxics on the proxies of these origins."""
        for proxy in self._of(origins):
            for at, toxic in enumerate(toxics):
                with self._call(f"add {toxic.type}"):
                    proxy.add_toxic(
                        name=f"{at}_{toxic.type}",
                        type=toxic.type,
                        stream=toxic.stream,
                        toxicity=toxic.toxicity,
                        attributes=dict(toxic.attributes),
                    )
            self._confirm(proxy, toxics=len(toxics))

    def clear(self, origins: Sequence[str]) -> None:
        """Take all toxics off."""
        for proxy in self._of(origins):
            with self._call("remove toxics"):
                for name in sorted(proxy.toxics()):
                    proxy.destroy_toxic(name)
            self._confirm(proxy, toxics=0)

    def refuse(self, origins: Sequence[str]) -> None:
        """Let the proxies of these origins end their connections and accept no others."""
        for proxy in self._of(origins):
            with self._call("take a proxy down"):
                proxy.disable()
            self._confirm(proxy, enabled=False)
            self._held[proxy.name] = _hold(int(proxy.listen.rpartition(":")[2]))

    def accept(self, origins: Sequence[str]) -> None:
        """Let the proxies of these origins accept connections again."""
        for proxy in self._of(origins):
            self._held.pop(proxy.name).close()
            with self._call("put a proxy up"):
                proxy.enable()
            self._confirm(proxy, enabled=True)

    def delivered(self) -> int:
        """Bytes sent to the client over connections that have ended.

        Toxiproxy's own counter, which is exact where the connection was ended from behind; where the client ended it,
        the bytes stand only in the log line about the failed write.
        """
        return self._counted() + self._logged()

    def settled(self) -> int:
        """The same once it stands still: the connections of a client that has ended are all accounted for."""
        until = time.monotonic() + _SETTLE_SECONDS
        before, now = -1, self.delivered()
        while before != now and time.monotonic() < until:
            time.sleep(0.1)
            before, now = now, self.delivered()
        return now

    def _counted(self) -> int:
        with self._call("read the metrics"):
            text = APIConsumer.get("/metrics", timeout=self._patience).text
        lines = (line for line in text.splitlines() if line.startswith(_SENT) and self._case in line)
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if 'direction="downstream"' in line)

    def _logged(self) -> int:
        lines = self._server.log.read_text(encoding="utf-8", errors="replace").splitlines()
        failed = (json.loads(line) for line in lines if self._case in line and "Could not write to destination" in line)
        return sum(entry["bytes"] for entry in failed if entry["link"].endswith("downstream"))

    def _of(self, origins: Sequence[str]) -> list[Proxy]:
        return [self._proxies[origin] for origin in origins]

    def _confirm(self, proxy: Proxy, **expected: int) -> None:
        """The client takes a 5xx for success, so look at what the server holds."""
        with self._call("look at a proxy"):
            held = APIConsumer.get(f"/proxies/{proxy.name}", timeout=self._patience).json()
        found = {"toxics": len(held["toxics"]), "enabled": held["enabled"]}
        if any(found[word] != value for word, value in expected.items()):
            raise ToxiproxyError(f"Toxiproxy did not do as told: {held}")

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        """A control call: typed errors, and an end even where the client knows no timeout."""
        self._server.check()
        # The client has one address per process, and this process may have had another server since.
        APIConsumer.host, APIConsumer.port = HOST, self._server.port
        watch = threading.Timer(
            self._patience, self._server.kill, [f"no answer within {self._patience:g} s to: {what}"]
        )
        watch.daemon = True
        watch.start()
        try:
            yield
        except (InvalidToxic, NotFound, ProxyExists) as error:
            raise ToxiproxyError(f"Toxiproxy refused to {what}: {error}") from error
        except (requests.RequestException, ValueError, KeyError) as error:
            # A server's sockets die a moment before its process does.
            self._server.check(grace=1.0)
            raise ToxiproxyError(f"Toxiproxy answered nonsense to: {what}: {error}") from error
        finally:
            watch.cancel()


def _hold(port: int) -> socket.socket:
    """Keep a port that nobody listens on: else the system may give it away as the near end of some connection."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock


@contextmanager
def suppress_if(condition: bool, kind: type[Exception]) -> Iterator[None]:
    """Let errors of this kind pass silently, under a condition."""
    try:
        yield
    except kind:
        if not condition:
            raise
