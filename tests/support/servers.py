"""TCP servers that answer as no well-behaved server does, and pipes between two sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable


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
                self._spawn(lambda connection=connection: self._serve(connection))  # type: ignore[misc]  # the default binds the connection of this turn

    def _serve(self, connection: socket.socket) -> None:
        assert self._talk is not None
        try:
            self._talk(connection)
        except OSError:
            pass
        finally:
            hang_up(connection)


def nobody() -> str:
    """Return the URL of a port without a listener."""
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


def tls_front(url: str, context: ssl.SSLContext) -> RawServer:
    """TLS in front of a plain origin."""
    forward: Callable[[socket.socket], None] = forward_to(url)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            server.connections.append(inner)  # it took the socket over: who hangs up must have it
            forward(inner)

    server = RawServer(talk)
    return server
