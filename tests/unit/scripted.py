"""A connection pool with scripted responses, and a hub that uses it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import urllib3

from phaita_loader._http.url import host
from phaita_loader.hub import Body, Hub
from phaita_loader.listing import RemoteFile
from tests.unit.fakes import COMMIT

FIRST, SECOND, THIRD = "https://first.test", "https://second.test", "https://third.test/hf"
TOKEN = "hf_secret"
CONFIG = RemoteFile("config.json", 2, "a" * 40, "git-sha1")
INFO = {"sha": COMMIT, "siblings": [{"rfilename": CONFIG.path, "size": CONFIG.size, "blobId": CONFIG.digest}]}


def response(status: int = 200, body: Any = b"{}", **headers: str) -> urllib3.HTTPResponse:
    """Return a response with these bytes, or with another value as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.HTTPResponse(io.BytesIO(raw), named, status, preload_content=False)


def error(status: int, code: str = "", message: str = "") -> urllib3.HTTPResponse:
    return response(status, X_Error_Code=code, X_Error_Message=message)


REFUSED = urllib3.exceptions.ProtocolError("broken", ConnectionResetError())


@dataclass
class ScriptedPool:
    """A pool with one answer a host, made anew for each request; an exception is raised. `asked` records requests."""

    answers: dict[str, Callable[[str], urllib3.HTTPResponse | Exception]]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def request(self, method: str, url: str, *, headers: dict[str, str], **options: Any) -> urllib3.HTTPResponse:
        assert (method, options["redirect"], options["retries"]) == ("GET", False, False)
        self.asked.append((url, headers))
        answer = self.answers[host(url)](url)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def hosts(self) -> list[str]:
        return [host(url).removesuffix(".test") for url, _ in self.asked]


def hub_of(pool: ScriptedPool, *endpoints: str, token: str | bool | None = False) -> Hub:
    return Hub(endpoints or (FIRST, SECOND), token=token, pool=pool)


def listed(hub: Hub, revision: str = "main") -> Any:
    return hub.listing("org/name", revision, timeout=5.0)


def opened(hub: Hub, location: str | None = None) -> Body:
    return hub.open_file("org/name", COMMIT, CONFIG, 0, location=location, connect=1.0, stall=1.0)


def served(url: str) -> urllib3.HTTPResponse:
    """Answer any URL as the Hub does."""
    return response(body=INFO) if "/api/" in url else response(body=b"{}", Content_Length="2")


def always(make: Callable[[], urllib3.HTTPResponse | Exception]) -> Callable[[str], urllib3.HTTPResponse | Exception]:
    return lambda _: make()


FAILING = {
    "reset": always(lambda: REFUSED),
    "503": always(lambda: error(503)),
    "429": always(lambda: response(429, Retry_After="3600")),
    "an HTML page": always(lambda: response(body=b"<html>", Content_Type="text/html")),
    "half a listing": always(lambda: response(body=b'{"sha": "ccc', Content_Length="40")),
    "no listing": always(lambda: response(body={})),
    "no commit": always(lambda: response(body={"siblings": []})),
    "a path that leaves": always(lambda: response(body=INFO | {"siblings": [{"rfilename": "../x"}]})),
    "redirects": always(lambda: response(302, Location="/again")),
}
