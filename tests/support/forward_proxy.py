"""A forward proxy: opens tunnels (CONNECT) to known hosts, counts their bytes and adds no fault of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

_CHUNK = 1 << 16
_STOP_SECONDS = 5.0
_NO_LINGER = struct.pack("ii", 1, 0)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _RefusedError(Exception):
    """The request is refused; the text is the status line."""


class ForwardProxy:
    """`with ForwardProxy(hub.addresses) as forward:` makes `forward.url` a proxy for the hosts of `addresses`.

    Any other host is refused with 403, unless `live`: then the DNS says where it is. With `plain` the proxy forwards
    requests for http URLs too, one a connection. With a `password` ("user:secret") it refuses requests without it.

    `asked` lists the requests (method and target); `tunnels` and `received` tell how many tunnels each host had and how
    many bytes came from it. An end on one side, FIN or RST, is passed on.
    """

    def __init__(
        self,
        addresses: Mapping[str, tuple[str, int]] | None = None,
        *,
        live: bool = False,
        plain: bool = False,
        password: str | None = None,
    ) -> None:
        self._addresses = dict(addresses or {})
        self._live = live
        self._plain = plain
        self._password = password
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="forward", daemon=True)
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self.asked: list[str] = []
        self.tunnels: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    def __enter__(self) -> ForwardProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        user = "" if self._password is None else f"{self._password}@"
        self.url = f"http://{user}127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._client, sock=self._listener)
        self._ready.set()
        await self._stop.wait()
        server.close()
        reset(*self._open)
        if clients := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(clients, timeout=_STOP_SECONDS)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._kept(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            try:
                method, host, port = self._destination(head)
                upstream = await self._dial(host, port)
            except _RefusedError as refusal:
                writer.write(f"HTTP/1.1 {refusal}\r\n\r\n".encode())
                return
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.tunnels[host] += 1
            else:
                upstream[1].write(_for_origin(head))
            with self._kept(upstream[1]):
                await asyncio.gather(
                    self._carry((reader, writer), upstream), self._carry(upstream, (reader, writer), host)
                )

    def _destination(self, head: bytes) -> tuple[str, str, int]:
        """Return method, host and port of a request that this proxy serves. Raises _RefusedError for others."""
        method, target, *_ = [*head.decode("latin-1").split(maxsplit=2), "", ""]
        self.asked.append(f"{method} {target}")
        if not self._knows_password(head):
            raise _RefusedError("407 Proxy Authentication Required")
        if method == "GET" and self._plain:
            url = urlsplit(target)
            return method, url.hostname or "", url.port or 80
        host, _, port = target.rpartition(":")
        if method != "CONNECT" or not port.isdigit():
            raise _RefusedError("405 Tunnels only")
        return method, host, int(port)

    def _knows_password(self, head: bytes) -> bool:
        """True if the request brings the password, or none is needed."""
        if self._password is None:
            return True
        expected = f"Basic {base64.b64encode(self._password.encode()).decode()}"
        headers = (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
        return any(name.lower() == "proxy-authorization" and value.strip() == expected for name, _, value in headers)

    async def _dial(self, host: str, port: int) -> Streams:
        if host not in self._addresses and not self._live:
            raise _RefusedError("403 Unknown host")
        try:
            return await asyncio.open_connection(*self._addresses.get(host, (host, port)))
        except (OSError, OverflowError, ValueError) as error:
            raise _RefusedError("502 Host out of reach") from error

    async def _carry(self, source: Streams, target: Streams, count_for: str = "") -> None:
        """Carry bytes from one side to the other until it ends; a reset ends both."""
        try:
            while chunk := await source[0].read(_CHUNK):
                self.received[count_for] += len(chunk) if count_for else 0
                target[1].write(chunk)
                await target[1].drain()
            target[1].write_eof()
        except OSError:
            reset(source[1], target[1])

    @contextlib.contextmanager
    def _kept(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._open.add(writer)
        try:
            yield
        finally:
            self._open.discard(writer)
            writer.close()


def _for_origin(head: bytes) -> bytes:
    """Return the request as the origin expects it: with its path for a target, and no header for the proxy."""
    first, *headers = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, version = first.split()
    path = urlsplit(target)._replace(scheme="", netloc="").geturl()
    kept = [line for line in headers if not line.lower().startswith(("proxy-", "connection:"))]
    # One request a connection: the next one could be for another origin.
    return "\r\n".join([f"{method} {path} {version}", *kept, "Connection: close", "", ""]).encode("latin-1")


def reset(*writers: asyncio.StreamWriter) -> None:
    """End these connections with RST."""
    for writer in writers:
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()
