"""The head of a response, read past every interim (1xx) response and within a time limit; http.client does neither."""

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

from phaita_loader.policy import answer_limit

__all__ = ["with_limited_heads"]


def with_limited_heads(pools: Mapping[str, type[HTTPConnectionPool]]) -> dict[str, type[HTTPConnectionPool]]:
    """Return the same connection pool classes, by scheme, with responses of this kind."""
    return {scheme: _with_limited_heads(pool) for scheme, pool in pools.items()}


def _with_limited_heads(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": _Response})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # http.client has made its own file already, without a limit.
        self.fp.close()
        self._timed = _Timed(sock)
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read the head. Raises TimeoutError, and what http.client raises."""
        super().begin()
        # The body has its own limits: the stall and the deadline.
        self._timed.until = math.inf

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # http.client's own, without a type
        # http.client skips 100 alone; 103 (Early Hints) comes before the final response too.
        interim = HTTPStatus.SWITCHING_PROTOCOLS < status < HTTPStatus.OK
        return version, HTTPStatus.CONTINUE if interim else status, reason


class _Timed(io.RawIOBase):
    """A socket's bytes up to an instant: a dripped head, each byte of it in time, would otherwise never end."""

    def __init__(self, sock: socket.socket) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        silence = sock.gettimeout()
        self.until = math.inf if silence is None else time.monotonic() + answer_limit(silence)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self.until:
            raise TimeoutError("the response headers took too long")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
