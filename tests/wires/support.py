"""What the tests share: repos, patience, fresh processes, and servers that do what no decent server does."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from phaita_loader import Backoff, Policy, Snapshot
from tests.hub import Commit, LocalHub, Repo, Seen

NAME = "org/name"
WEIGHTS = "model.safetensors"
QUICK = Policy(attempts=2, timeout=60, stall=5, connect=5, backoff=Backoff(first=0.05))
MIB = 1 << 20


def safetensors(size: int, seed: int = 0) -> bytes:
    """A valid file of one tensor of that many random bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(size)


def small_files(tag: str = "a") -> dict[str, bytes | Path]:
    """What lies beside the weights; the README is not what a loader asks for."""
    config = json.dumps({"model_type": "bert", "tag": tag}).encode()
    return {"config.json": config, "tokenizer.json": b'{"version": "1.0"}', "README.md": b"# hello"}


def repo(size: int = 2 * MIB, name: str = NAME, seed: int = 0, **options: object) -> Repo:
    """Small files and one large one, in one commit."""
    return Repo(name, [Commit({**small_files(), WEIGHTS: safetensors(size, seed)})], **options)  # type: ignore[arg-type]


def assert_whole(snapshot: Snapshot, served: Repo) -> None:
    """Byte for byte what the repo holds at that commit."""
    blobs = served.files(snapshot.commit)
    for file in snapshot.files:
        with blobs[file.path].open() as source:
            assert (snapshot.path / file.path).read_bytes() == source.read(), file.path


def bodies(hub: LocalHub, path: str = WEIGHTS) -> list[Seen]:
    """The requests on the CDN for one large file."""
    return [seen for seen in hub.seen if seen.origin == "cdn" and path in seen.query]


def sent(hub: LocalHub, path: str = WEIGHTS) -> int:
    """Bytes of one large file that left the CDN."""
    return sum(seen.bytes_sent for seen in bodies(hub, path))


def wait_until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Poll for a condition that another process or thread brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def fresh_process(code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs this code; killed at the end if it still runs."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


INTERRUPTIBLE = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""Code that makes Ctrl-C mean something where whoever started the tests had it ignored, as a shell's & has."""


def fetching(hub_url: str, cache: Path) -> str:
    """Code that fetches the usual repo and prints the commit."""
    return (
        "from phaita_loader import Backoff, Hub, Policy, fetch\n"
        "policy = Policy(attempts=2, timeout=30, stall=20, connect=5, backoff=Backoff(first=0.05))\n"
        f"hub = Hub({hub_url!r}, token=False, cache_dir={str(cache)!r})\n"
        f"print(fetch({NAME!r}, hub=hub, policy=policy).commit)\n"
    )


class RawServer:
    """A TCP server whose connections are each handed to `talk` in a thread; without one it never even accepts."""

    def __init__(self, talk: Callable[[socket.socket], None] | None = None) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.connections: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> RawServer:
        if self._talk is not None:
            self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        hang_up(self._listener)
        for connection in self.connections:
            hang_up(connection)
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.connections.append(connection)
                self._spawn(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        assert self._talk is not None
        try:
            self._talk(connection)
        except OSError:
            pass
        finally:
            hang_up(connection)


def nobody() -> str:
    """The URL of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def forward_to(url: str, frozen: threading.Event | None = None) -> Callable[[socket.socket], None]:
    """A `talk` that carries bytes to this origin and back; those of a frozen connection get lost on the way."""

    def talk(connection: socket.socket) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        pipe(connection, socket.create_connection((host, int(port))), frozen)

    return talk


def hang_up(connection: socket.socket) -> None:
    """Close it so that a thread that reads from it wakes up."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def read_head(connection: socket.socket) -> bytes:
    """A request's bytes up to the empty line."""
    head = b""
    while b"\r\n\r\n" not in head and (chunk := connection.recv(65536)):
        head += chunk
    return head


def drip(connection: socket.socket) -> None:
    """An answer whose headers never end, a byte at a time: no read of it ever times out."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"z")
        time.sleep(0.05)


def pipe(one: socket.socket, other: socket.socket, frozen: threading.Event | None = None) -> None:
    """Carry bytes both ways until either side ends; what a frozen pipe takes in goes nowhere."""
    back = threading.Thread(target=_carry, args=(other, one, frozen), daemon=True)
    back.start()
    _carry(one, other, frozen)
    back.join(10)
    hang_up(other)


def _carry(source: socket.socket, target: socket.socket, frozen: threading.Event | None) -> None:
    with contextlib.suppress(OSError, ValueError):  # a TLS socket that another thread closed is a ValueError
        while chunk := source.recv(65536):
            if frozen is None or not frozen.is_set():
                target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
