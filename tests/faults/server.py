"""The real Toxiproxy server as a child process: on a port that is surely ours, and never left behind."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.faults.build import ToxiproxyError, binary

HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_PORTS_TRIED = 5
# The shell ends the server when its own standard input ends, which the kernel sees to even if this process is killed;
# with KILL, since a server that hangs may not listen to less.
_TETHER = 'exec 3<&0; "$@" & server=$!; (cat <&3 >/dev/null; kill -9 "$server") & wait "$server"; kill $!'


class ToxiproxyDied(ToxiproxyError):
    """The server ended, or was ended because it did not answer, while a case still needed it."""


class Server:
    """`with Server() as server:` is a running Toxiproxy.

    Raises ToxiproxyMissing where no server can be had, ToxiproxyDied when it does not start.
    """

    def __init__(self, path: Path | None = None, pick_port: Callable[[], int] | None = None) -> None:
        self.path = path
        self._pick_port = pick_port or _free_port
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._cause = ""
        self.port = 0

    @property
    def log(self) -> Path:
        """The server's log: one JSON object a line."""
        return self._folder / "log.jsonl"

    def __enter__(self) -> Server:
        path = self.path or binary()
        self._cause = ""
        self._folder = Path(tempfile.mkdtemp(prefix="toxiproxy-"))
        try:
            if not any(self._started(path, self._pick_port()) for _ in range(_PORTS_TRIED)):
                raise ToxiproxyDied(f"found no free port for Toxiproxy in {_PORTS_TRIED} tries: {self._last_words()}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop()

    def revive(self) -> None:
        """Start again where it is gone: one death is one failed test, not all that follow."""
        if self._process is not None and self._process.poll() is not None:
            self._stop()
            self.__enter__()

    def kill(self, cause: str) -> None:
        """End the server now, because of `cause`: whoever waits for its answer gets an error instead."""
        self._cause = cause
        self._end()

    def check(self, grace: float = 0.0) -> None:
        """Raise ToxiproxyDied unless the server lives and goes on living for `grace` seconds."""
        try:
            if self._process is not None:
                self._process.wait(grace)
        except subprocess.TimeoutExpired:
            return
        raise ToxiproxyDied(f"Toxiproxy is gone: {self._cause or self._last_words()}")

    def _started(self, path: Path, port: int) -> bool:
        """True if the server listens on this port; False if another process took it first."""
        # A proxy with a name that nobody else knows tells our server from another one on the same port.
        name = f"ours-{uuid.uuid4().hex}"
        config = self._folder / "proxies.json"
        mark = {"name": name, "listen": f"{HOST}:0", "upstream": f"{HOST}:9", "enabled": False}
        config.write_text(json.dumps([mark]), encoding="utf-8")
        server = [path, "-host", HOST, "-port", port, "-config", config, "-proxy-metrics"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _TETHER, "toxiproxy", *map(str, server)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            self.check()
            if "Server finished with error" in self._text():
                self._end()
                return False
            if name in _proxies(port):
                self.port = port
                return True
            time.sleep(0.01)
        raise ToxiproxyDied(f"Toxiproxy did not answer within {_START_SECONDS:g} s: {self._last_words()}")

    def _text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def _last_words(self) -> str:
        return " | ".join(self._text().splitlines()[-3:]) or "it left no log"

    def _end(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _stop(self) -> None:
        self._end()
        self._process = None
        shutil.rmtree(self._folder)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _proxies(port: int) -> dict[str, Any]:
    try:
        return dict(requests.get(f"http://{HOST}:{port}/proxies", timeout=2.0).json())
    except (requests.RequestException, ValueError):
        return {}
