"""Queued answers, and the ASGI layer that plays them."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answer import Answer
from .body import Span
from .origins import PORTAL_PAGE, PORTAL_PATH, denied
from .signing import unsigned


class _CutError(Exception):
    """Ends a response in the middle: the server then closes the connection."""


class _Queued:
    """An answer and how often it still has to pass and to act."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.skip = answer.skip
        self.left = answer.times


class FaultQueue:
    """Answers in the order in which they were queued; the first that fits a request takes it."""

    def __init__(self) -> None:
        self._queue: list[_Queued] = []
        self._lock = threading.Lock()

    def add(self, answer: Answer) -> None:
        """Queue one more."""
        with self._lock:
            self._queue.append(_Queued(answer))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._queue.clear()

    def claim(self, fits: Callable[[Answer], bool]) -> Answer | None:
        """The answer for this request, counted as used."""
        with self._lock:
            for queued in self._queue:
                if fits(queued.answer) and _due(queued):
                    self._queue = [one for one in self._queue if one.left != 0]
                    return queued.answer
        return None


def _due(queued: _Queued) -> bool:
    if queued.skip:
        queued.skip -= 1
        return False
    if queued.left is not None:
        queued.left -= 1
    return True


class Faults:
    """Plays queued answers in front of one origin's app."""

    def __init__(self, app: ASGIApp, origin: str, queue: FaultQueue, stopped: asyncio.Event) -> None:
        self._app = app
        self._origin = origin
        self._queue = queue
        self._stopped = stopped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        answer = self._queue.claim(lambda a: not a.acts_on_body and self._fits(a, scope))
        if answer is not None and answer.kind == "delay":
            await self._wait(answer.delay or 0.0)
        if answer is not None and answer.kind == "ignore_range":
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        instead = None if answer is None else _response(answer, scope)
        if instead is not None:
            return await instead(scope, receive, send)
        try:
            await self._app(scope, receive, self._disturbing(scope, send))
        except _CutError:
            return None

    def _fits(self, answer: Answer, scope: Scope) -> bool:
        target = f"{scope['path']}?{unsigned(scope['query_string'].decode('latin-1'))}"
        here = answer.on in (self._origin, "both") and not (answer.expired and self._origin != "cdn")
        method = answer.method is None or answer.method.upper() == scope["method"]
        ranged = not answer.ignore_range or "range" in Headers(scope=scope)
        return here and method and ranged and re.search(answer.match, target) is not None

    def _disturbing(self, scope: Scope, send: Send) -> Send:
        """A `send` that looks for a body answer when a file's body begins, and plays it."""
        player: _Player | None = None

        async def disturbed(message: Message) -> None:
            nonlocal player
            if message["type"] == "http.response.start":
                player = self._claim_body(scope, message)
            if player is None or message["type"] != "http.response.body":
                await send(message)
            else:
                await player.play(message, send)

        return disturbed

    def _claim_body(self, scope: Scope, start: Message) -> _Player | None:
        span = _body_span(start)
        if span is None or scope["method"] != "GET":
            return None
        answer = self._queue.claim(lambda a: a.acts_on_body and _reaches(a, span) and self._fits(a, scope))
        return None if answer is None else _Player(answer, span, self._wait)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return


class _Player:
    """Cuts, changes or pauses one body as it passes."""

    def __init__(self, answer: Answer, span: Span, wait: Callable[[float], Awaitable[None]]) -> None:
        self._answer = answer
        self._span = span
        self._wait = wait
        self._passed = 0

    async def play(self, message: Message, send: Send) -> None:
        data: bytes = message.get("body", b"")
        begin, self._passed = self._passed, self._passed + len(data)
        if self._answer.flip is not None:
            await send({**message, "body": _flipped(data, self._answer.flip - self._span.start - begin)})
            return
        point = self._answer.after if self._answer.cut is None else self._answer.cut
        if not begin <= point < self._passed:
            await send(message)
            return
        await send({**message, "body": data[: point - begin], "more_body": True})
        if self._answer.cut is not None:
            raise _CutError
        await self._wait(self._answer.pause or 0.0)
        await send({**message, "body": data[point - begin :]})


def _flipped(data: bytes, at: int) -> bytes:
    if not 0 <= at < len(data):
        return data
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _reaches(answer: Answer, span: Span) -> bool:
    """Does the body hold the byte that the answer is about?"""
    if answer.flip is not None:
        return span.start <= answer.flip < span.stop
    return len(span) > (answer.cut if answer.cut is not None else answer.after)


def _body_span(start: Message) -> Span | None:
    headers = Headers(raw=start["headers"])
    if start["status"] == 206:
        first, _, last = headers["content-range"].removeprefix("bytes ").partition("/")[0].partition("-")
        return Span(int(first), int(last) + 1)
    is_file = start["status"] == 200 and "accept-ranges" in headers
    return Span(0, int(headers["content-length"])) if is_file else None


def _response(answer: Answer, scope: Scope) -> Response | None:
    """The response that stands in for the honest one, for those kinds that have one."""
    if answer.expired:
        return denied()
    if answer.portal == 302:
        host = Headers(scope=scope).get("host", "localhost")
        return RedirectResponse(f"{scope['scheme']}://{host}{PORTAL_PATH}", 302)
    if answer.portal == 200:
        return HTMLResponse(PORTAL_PAGE)
    return None if answer.status is None else _plain(answer, answer.status)


def _plain(answer: Answer, status: int) -> Response:
    response = Response(answer.body, status)
    headers = MutableHeaders(raw=response.raw_headers)
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    if answer.retry_date is not None:
        headers["Retry-After"] = formatdate(time.time() + answer.retry_date, usegmt=True)
    for name, value in answer.headers.items():
        headers[name] = value
    return response
