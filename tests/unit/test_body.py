from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
import urllib3

from phaita_loader._http.client import Limits, Target
from phaita_loader._hub.body import Body, open_body
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient
from tests.unit.fakes import SIGNED, listed, noise

DATA = noise(1000)
FILE = listed("model.safetensors", DATA)
HTML = b"<html>please sign in</html>"
LIMITS = Limits(1.0, 1.0, 1.0)


def response(status: int, headers: dict[str, str], body: bytes = DATA) -> urllib3.HTTPResponse:
    return urllib3.HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)


class Answers:
    """A client that gives these responses in turn, the last one for ever; `ranges` records the ranges asked for."""

    def __init__(self, *answers: urllib3.HTTPResponse) -> None:
        self.answers = list(answers)
        self.ranges: list[str | None] = []

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> urllib3.HTTPResponse:
        self.ranges.append(headers.get("Range"))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def open(self, start: int, end: int | None = None, file: RemoteFile = FILE) -> Body:
        return open_body(self, Target(SIGNED, foreign=True), file, start, end, {}, LIMITS)


RIGHT = [
    (206, {"Content-Range": "bytes 400-999/1000", "Content-Length": "600"}, 400, 400),
    # Some CDNs do not say how long the whole is.
    (206, {"Content-Range": "bytes 400-999/*"}, 400, 400),
    # A server that ignores ranges sends all from the first byte.
    (200, {"Content-Length": "1000"}, 400, 0),
    (200, {}, 0, 0),
    (200, {"Content-Length": "1000", "Content-Encoding": "identity"}, 0, 0),
]


@pytest.mark.parametrize(("status", "headers", "asked", "start"), RIGHT)
def test_a_body_says_where_it_begins(status: int, headers: dict[str, str], asked: int, start: int) -> None:
    body = Answers(response(status, headers, DATA[start:])).open(asked)
    assert (body.start, body.location) == (start, SIGNED)
    assert b"".join(iter(body.read, b"")) == DATA[start:]
    assert "Signature" not in repr(body)
    body.close()


WRONG = [
    # Another range than the one that was asked for would end up in the wrong place.
    (206, {"Content-Range": "bytes 399-999/1000"}, "something else"),
    (206, {"Content-Range": "bytes 400-999/1001"}, "something else"),
    (206, {"Content-Range": "items 1-2/3"}, "something else"),
    (206, {}, "something else"),
    (200, {"Content-Length": "999"}, "something else"),
    (200, {"Content-Length": "1000", "Content-Encoding": "gzip"}, "something else"),
    # The captive portal's page, whether it says how long it is or not.
    (200, {"Content-Length": "27", "Content-Type": "text/html"}, "an HTML page"),
    (200, {"Content-Type": "text/html; charset=utf-8"}, "an HTML page"),
]


@pytest.mark.parametrize(("status", "headers", "told"), WRONG)
def test_what_is_not_the_files_body(status: int, headers: dict[str, str], told: str) -> None:
    answer = response(status, headers, HTML)
    with pytest.raises(Transient, match=f"{told} where {FILE.path} should be"):
        Answers(answer).open(400)
    assert answer.closed


@pytest.mark.parametrize(("end", "asked"), [(None, "bytes=400-"), (1000, "bytes=400-999"), (401, "bytes=400-400")])
def test_the_range_that_is_asked_for(end: int | None, asked: str) -> None:
    answers = Answers(response(200, {}))
    answers.open(400, end)
    assert answers.ranges == [asked]


SPOILT = [
    (416, {"Content-Range": "bytes */1000"}),
    (206, {"Content-Range": "bytes 0-99/1000"}),
    (206, {"Content-Range": "bytes 400-499/999"}),
    (206, {"Content-Range": f"bytes {'4' * 5000}-4/9"}),
    (206, {}),
]


@pytest.mark.parametrize(("status", "headers"), SPOILT)
def test_a_spoilt_range_is_asked_for_once_as_a_whole(status: int, headers: dict[str, str]) -> None:
    answers = Answers(response(status, headers, b"xxx"), response(200, {"Content-Length": "1000"}))
    body = answers.open(400, 500)
    assert (body.start, b"".join(iter(body.read, b""))) == (0, DATA)
    assert answers.ranges == ["bytes=400-499", None]


def test_what_is_refused_twice_is_refused() -> None:
    answers = Answers(response(416, {}))
    with pytest.raises(Transient, match="416"):
        answers.open(400)
    assert len(answers.ranges) == 2


def test_an_html_file_may_be_html() -> None:
    page = listed("page.html", HTML)
    body = Answers(response(200, {"Content-Type": "text/html"}, HTML)).open(0, file=page)
    assert body.read() == HTML
    body.close()
