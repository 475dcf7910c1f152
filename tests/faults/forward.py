"""A forward proxy: opens tunnels (CONNECT) to the hosts that it knows, counts their bytes, adds no fault of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping

_CHUNK = 1 << 16
_STOP_SECONDS = 5.0
_NO_LINGER = struct.pack("ii", 1, 0)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _RefusedError(Exception):
    """No tunnel; the text is the status line."""


class Forward:
    """`with Forward(hub.addresses) as forward:` makes `forward.url` a proxy for the hosts of `addresses`.

    Any other host is refused with 403, unless `live`: then the DNS says where it is. `tunnels` and `received` tell how
    many tunnels each host had and how many bytes came out of them. An end on one side, FIN or RST, is passed on.
    """

    def __init__(self, addresses: Mapping[str, tuple[str, int]], *, live: bool = False) -> None:
        self._addresses = dict(addresses)
        self._live = live
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="forward", daemon=True)
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self.tunnels: Counter[str] = Counter()
        self.received: Counter[str] = Counter()

    def __enter__(self) -> Forward:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
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
                host, upstream = await self._dial(head)
            except _RefusedError as refusal:
                writer.write(f"HTTP/1.1 {refusal}\r\n\r\n".encode())
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self.tunnels[host] += 1
            with self._kept(upstream[1]):
                await asyncio.gather(
                    self._carry((reader, writer), upstream), self._carry(upstream, (reader, writer), host)
                )

    async def _dial(self, head: bytes) -> tuple[str, Streams]:
        method, target, *_ = [*head.decode("latin-1").split(maxsplit=2), "", ""]
        host, _, port = target.rpartition(":")
        if method != "CONNECT" or not port.isdigit():
            raise _RefusedError("405 Tunnels only")
        if host not in self._addresses and not self._live:
            raise _RefusedError("403 Unknown host")
        try:
            return host, await asyncio.open_connection(*self._addresses.get(host, (host, int(port))))
        except (OSError, OverflowError, ValueError) as error:
            raise _RefusedError("502 Host out of reach") from error

    async def _carry(self, source: Streams, target: Streams, count_for: str = "") -> None:
        """Bytes from one side to the other until it ends; an end by force ends both."""
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


def reset(*writers: asyncio.StreamWriter) -> None:
    """End these connections with RST."""
    for writer in writers:
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()
