"""LocalHub: the two origins on real sockets, in a thread, started and stopped by a context manager."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import uvicorn
from starlette.types import ASGIApp

from .answer import Answer
from .content import Repo
from .faults import FaultQueue, Faults
from .origins import Signer, cdn_app, hub_app
from .record import Log, Recorder, Seen
from .store import Store
from .tls import NAMES, Authority
from .wire import Connection

_START_SECONDS = 30.0
_STOP_SECONDS = 5


class LocalHub:
    """A Hugging Face Hub on 127.0.0.1: `with LocalHub([repo]) as hub: HfApi(endpoint=hub.url)...`.

    tokens     token -> the gated and private repos that it opens
    expires_in seconds until a signed URL of the CDN expires
    clock      what the CDN's expiry is measured with
    ports      of the Hub and CDN origins; 0 is any free one (OSError when one is in use)
    tls        speak https, with certificates for 127.0.0.1 and `NAMES` that `ca_file` vouches for
    """

    def __init__(
        self,
        repos: Iterable[Repo] = (),
        *,
        tokens: Mapping[str, Collection[str]] | None = None,
        expires_in: float = 3600.0,
        clock: Callable[[], float] = time.time,
        ports: tuple[int, int] = (0, 0),
        tls: bool = False,
    ) -> None:
        self._store = Store(repos, tokens or {})
        self._signer = Signer(secrets.token_bytes(32), "", expires_in, clock)
        self._log = Log()
        self._faults = FaultQueue()
        self._ports = ports
        self._tls = tls
        self._authority: Authority | None = None
        self._sockets: list[socket.socket] = []
        self._runner: _Runner | None = None
        self.url = ""
        self.cdn_url = ""

    @property
    def public_cdn_url(self) -> str:
        """The CDN's origin in Location headers; set it to put a proxy in front."""
        return self._signer.public_url

    @public_cdn_url.setter
    def public_cdn_url(self, url: str) -> None:
        self._signer.public_url = url

    @property
    def seen(self) -> tuple[Seen, ...]:
        """Every request of both origins so far, in order of arrival."""
        return self._log.seen

    @property
    def ca_file(self) -> Path:
        """The certificate authority of a running Hub that speaks TLS, as a PEM file."""
        if self._authority is None:
            raise RuntimeError("only a running LocalHub(tls=True) has a certificate authority")
        return self._authority.ca_file

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """The addresses of the names in `NAMES`, for a proxy that stands in for the DNS."""
        return {name: sock.getsockname() for name, sock in zip(NAMES.values(), self._sockets, strict=True)}

    @property
    def repos(self) -> Mapping[str, Repo]:
        """The repos served, by id."""
        return self._store.repos

    def answer(self, answer: Answer) -> None:
        """Queue an HTTP-level fault."""
        self._faults.add(answer)

    def clear(self) -> None:
        """Forget queued faults and seen requests."""
        self._faults.clear()
        self._log.clear()

    def move(self, repo_id: str, branch: str, commit: str) -> None:
        """Point a branch at another commit of its repo."""
        self._store.move(repo_id, branch, commit)

    def __enter__(self) -> LocalHub:
        if self._runner is not None:
            raise RuntimeError("this LocalHub is running already")
        self._sockets = _listen(self._ports)
        scheme = "https" if self._tls else "http"
        self.url, self.cdn_url = (f"{scheme}://127.0.0.1:{sock.getsockname()[1]}" for sock in self._sockets)
        self.public_cdn_url = self.public_cdn_url or self.cdn_url
        self._authority = Authority() if self._tls else None
        self._runner = _Runner(self._configs(), self._sockets)
        self._runner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.stop()
        for sock in self._sockets:
            sock.close()
        if self._authority is not None:
            self._authority.close()
        if self.public_cdn_url == self.cdn_url:
            self.public_cdn_url = ""
        if self._log.failures and error is None:
            raise RuntimeError("the local Hub itself failed:\n" + "\n".join(self._log.failures))

    def _configs(self) -> list[uvicorn.Config]:
        apps = {"hub": hub_app(self._store, self._signer), "cdn": cdn_app(self._store, self._signer)}
        return [
            self._config(name, Recorder(Faults(app, name, self._faults), name, self._log)) for name, app in apps.items()
        ]

    def _config(self, origin: str, app: ASGIApp) -> uvicorn.Config:
        config = _config(app)
        config.load()
        if self._authority is not None:
            config.ssl = self._authority.context(origin)
        return config


class _Runner(threading.Thread):
    """One event loop in one daemon thread, with a uvicorn server for each socket."""

    def __init__(self, configs: list[uvicorn.Config], sockets: list[socket.socket]) -> None:
        super().__init__(name="local-hub", daemon=True)
        self._configs = configs
        self._sockets = sockets
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._servers: list[uvicorn.Server] = []

    def start(self) -> None:
        super().start()
        if not self._ready.wait(_START_SECONDS) or not self._servers:
            raise RuntimeError("the local Hub did not start")

    def stop(self) -> None:
        if self._loop is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._hang_up)
        self.join()

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._servers = [uvicorn.Server(config) for config in self._configs]
        serving = [server.serve([sock]) for server, sock in zip(self._servers, self._sockets, strict=True)]
        await asyncio.gather(*serving, self._announce())

    async def _announce(self) -> None:
        while not all(server.started for server in self._servers):
            await asyncio.sleep(0.001)
        self._ready.set()

    def _hang_up(self) -> None:
        """Drop every connection at once: a client that hangs must not keep the Hub from stopping."""
        for server in self._servers:
            server.should_exit = True
            for connection in list(server.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def _listen(ports: tuple[int, int]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        sockets.extend(socket.create_server(("127.0.0.1", port), backlog=128) for port in ports)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    for sock in sockets:
        # Accepted connections inherit it. asyncio would set it only where the socket names its protocol.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sockets
