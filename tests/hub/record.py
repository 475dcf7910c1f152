"""The log of each origin: one record a request."""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .signing import unsigned
from .wire import connection


@dataclass(frozen=True)
class Seen:
    """One request and what was answered; status 0 means that no answer has begun.

    `query` is decoded and without signature, `range` is the header, `bytes_sent` counts the body bytes handed to the
    network so far, `authorised` says that an Authorization header came. Requests over one TCP connection have the same
    `connection`.
    """

    origin: str
    method: str
    path: str
    query: str
    status: int
    range: str | None
    authorised: bool
    bytes_sent: int
    connection: int = 0


class _Entry:
    """A record in the making. It is in the log before the first byte leaves, so no client is ahead of it."""

    def __init__(self, origin: str, scope: Scope) -> None:
        self._origin = origin
        self._scope = scope
        self.status = 0
        self.bytes_sent = 0

    def freeze(self) -> Seen:
        headers = Headers(scope=self._scope)
        return Seen(
            origin=self._origin,
            method=self._scope["method"],
            path=self._scope["path"],
            query=unsigned(self._scope["query_string"].decode("latin-1")),
            status=self.status,
            range=headers.get("range"),
            authorised="authorization" in headers,
            bytes_sent=self.bytes_sent,
            connection=connection(self._scope).number,
        )


class Log:
    """All records of a running Hub, and the tracebacks of its own mistakes."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()
        self.failures: list[str] = []

    @property
    def seen(self) -> tuple[Seen, ...]:
        """Records so far, oldest first."""
        with self._lock:
            return tuple(entry.freeze() for entry in self._entries)

    def clear(self) -> None:
        """Forget the records."""
        with self._lock:
            self._entries.clear()

    def begin(self, origin: str, scope: Scope) -> _Entry:
        """Start a record."""
        entry = _Entry(origin, scope)
        with self._lock:
            self._entries.append(entry)
        return entry


class Recorder:
    """The outermost ASGI layer of one origin."""

    def __init__(self, app: ASGIApp, origin: str, log: Log) -> None:
        self._app = app
        self._origin = origin
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        entry = self._log.begin(self._origin, scope)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            elif scope["method"] != "HEAD":
                entry.bytes_sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            self._log.failures.append(traceback.format_exc())
            raise
