"""Queued answers, and the ASGI layer that applies them."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable
from email.utils import formatdate

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answer import Answer
from .body import Span
from .body_faults import BODY_FAULTS, BodyFault, CutError, FaultyResponse
from .origins import PORTAL_PAGE, PORTAL_PATH, denied
from .signing import unsigned
from .wire import connection


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
    """Applies queued answers in front of one origin's app."""

    def __init__(self, app: ASGIApp, origin: str, queue: FaultQueue) -> None:
        self._app = app
        self._origin = origin
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        answer = self._queue.claim(lambda a: not a.acts_on_body and self._fits(a, scope))
        instead = None if answer is None else await self._begin(answer, scope)
        if instead is not None:
            return await instead(scope, receive, send)
        if answer is not None and answer.ignore_range:
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        if not connection(scope).lost:
            with contextlib.suppress(CutError):
                await self._app(scope, receive, self._disturbing(scope, send))
        return None

    async def _begin(self, answer: Answer, scope: Scope) -> Response | None:
        """Apply an answer before anything is sent, and return the response that replaces the correct one."""
        if answer.delay is not None:
            await connection(scope).wait(answer.delay)
        if answer.close_before_answer:
            await connection(scope).hang_up()
        if answer.slow_headers is not None:
            connection(scope).speak_raw(scope, answer.slow_headers)
        return _response(answer, scope)

    def _fits(self, answer: Answer, scope: Scope) -> bool:
        target = f"{scope['path']}?{unsigned(scope['query_string'].decode('latin-1'))}"
        here = answer.on in (self._origin, "both") and not (answer.expired and self._origin != "cdn")
        method = answer.method is None or answer.method.upper() == scope["method"]
        ranged = not answer.needs_range or "range" in Headers(scope=scope)
        return here and method and ranged and re.search(answer.match, target) is not None

    def _disturbing(self, scope: Scope, send: Send) -> Send:
        """Return a `send` that looks for a body answer when a body begins, and applies it."""
        fault: BodyFault | None = None

        async def disturbed(message: Message) -> None:
            nonlocal fault
            if message["type"] == "http.response.start":
                fault = self._claim_body(scope, message, send)
            await (send(message) if fault is None else fault.apply(message))

        return disturbed

    def _claim_body(self, scope: Scope, start: Message, send: Send) -> BodyFault | None:
        span, is_file = _body(start)
        if span is None or scope["method"] != "GET":
            return None

        def fits(answer: Answer) -> bool:
            of_this = answer.acts_on_body and (is_file or answer.acts_on_json)
            return of_this and _reaches(answer, span) and self._fits(answer, scope)

        answer = self._queue.claim(fits)
        return None if answer is None else BODY_FAULTS[answer.kind](FaultyResponse(answer, span, scope, send))


def _reaches(answer: Answer, span: Span) -> bool:
    """True if the body holds the byte on which the answer acts."""
    if answer.flip is not None:
        return span.start <= answer.flip < span.stop
    points = (answer.cut, answer.reset, answer.after)
    return len(span) > next(at for at in points if at is not None)


def _body(start: Message) -> tuple[Span | None, bool]:
    """Return the bytes that a response brings, and True if they are a file's; None for a redirect or a refusal."""
    headers = Headers(raw=start["headers"])
    if start["status"] == 206:
        first, _, last = headers["content-range"].removeprefix("bytes ").partition("/")[0].partition("-")
        return Span(int(first), int(last) + 1), True
    if start["status"] != 200:
        return None, False
    return Span(0, int(headers["content-length"])), "accept-ranges" in headers


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
