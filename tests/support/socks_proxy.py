"""A SOCKS5 proxy, as small as it can be."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from tests.support.servers import RawServer, pipe


def socks_proxy(
    asked: list[tuple[str, int]], password: tuple[str, str] | None = None, names: Mapping[str, str] | None = None
) -> RawServer:
    """Return a proxy that connects to any address or name; `names` are those that it alone knows.

    `asked` collects the destinations that clients name.
    """

    def talk(connection: socket.socket) -> None:
        if not _greeted(connection, password):
            return
        host, port = _destination(connection)
        asked.append((host, port))
        with socket.create_connection(((names or {}).get(host, host), port)) as upstream:
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
            pipe(connection, upstream)

    return RawServer(talk)


def _greeted(connection: socket.socket, password: tuple[str, str] | None) -> bool:
    _, count = _read(connection, 2)
    _read(connection, count)
    connection.sendall(b"\x05\x00" if password is None else b"\x05\x02")
    if password is None:
        return True
    _, length = _read(connection, 2)
    user = _read(connection, length).decode()
    told = _read(connection, _read(connection, 1)[0]).decode()
    right = (user, told) == password
    connection.sendall(b"\x01\x00" if right else b"\x01\x01")
    return right


def _destination(connection: socket.socket) -> tuple[str, int]:
    kind = _read(connection, 4)[3]
    raw = _read(connection, 4 if kind == 1 else _read(connection, 1)[0])
    host = socket.inet_ntoa(raw) if kind == 1 else raw.decode()
    return host, struct.unpack(">H", _read(connection, 2))[0]


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionError("hung up")
        data += chunk
    return data
