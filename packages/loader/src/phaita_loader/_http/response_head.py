"""The head of an answer, as http.client alone would not read it: past every interim answer, and within its time."""

from __future__ import annotations

import io
import math
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool

__all__ = ["heeding"]

_HEADS = 4  # times the limit for one silence that a head may take


def heeding(pools: Mapping[str, type[HTTPConnectionPool]]) -> dict[str, type[HTTPConnectionPool]]:
    """The same connection pools, by scheme, with answers of this kind."""
    return {scheme: _heeding(pool) for scheme, pool in pools.items()}


def _heeding(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": _Response})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._timed = _Timed(sock)
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read the head. Raises TimeoutError, and what http.client raises."""
        super().begin()
        self._timed.until = math.inf

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # http.client's own, without a type
        # Of the interim answers http.client skips 100 alone; 103 (Early Hints) comes before an answer too.
        interim = HTTPStatus.SWITCHING_PROTOCOLS < status < HTTPStatus.OK
        return version, HTTPStatus.CONTINUE if interim else status, reason


class _Timed(io.RawIOBase):
    """A socket's bytes up to an instant: a dripped head, of which every byte is in time, would go on for ever."""

    def __init__(self, sock: socket.socket) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        silence = sock.gettimeout()
        self.until = math.inf if silence is None else time.monotonic() + _HEADS * silence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self.until:
            raise TimeoutError("the head of the answer did not end")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
