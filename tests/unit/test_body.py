from __future__ import annotations

import io

import pytest
import urllib3

from phaita_loader._body import opened
from phaita_loader.retry import Transient
from tests.unit.fakes import SIGNED, listed, noise

DATA = noise(1000)
FILE = listed("model.safetensors", DATA)
HTML = b"<html>please sign in</html>"


def response(status: int, headers: dict[str, str], body: bytes = DATA) -> urllib3.HTTPResponse:
    return urllib3.HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)


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
    body = opened(response(status, headers, DATA[start:]), FILE, asked, host="hub.test", location=SIGNED, stall=1.0)
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
        opened(answer, FILE, 400, host="hub.test", location=None, stall=1.0)
    assert answer.closed


def test_an_html_file_may_be_html() -> None:
    page = listed("page.html", HTML)
    body = opened(response(200, {"Content-Type": "text/html"}, HTML), page, 0, host="h", location=None, stall=1.0)
    assert body.read() == HTML
    body.close()
