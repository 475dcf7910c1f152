"""Servers that mean harm: an error of this package's or a safe result, soon, in little memory, inside the cache."""

from __future__ import annotations

import gzip
import json
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phaita_loader import ModelDownloadError, Policy, fetch
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient
from tests.support.servers import RawServer, read_head
from tests.wires.support import NAME, Connect

COMMIT = "c" * 40
CONFIG = b'{"model_type": "bert"}'
CONFIG_SHA1 = "a" * 40
BRIEF = Policy(attempts=1, timeout=3, stall=0.5, connect=0.5)
LONGEST = 4 * BRIEF.connect + BRIEF.timeout
ROOM = 96 << 20


def plain(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def listing(*paths: str, **fields: object) -> bytes:
    rows = [{"rfilename": path, "size": len(CONFIG), "blobId": CONFIG_SHA1, **fields} for path in paths]
    return json.dumps({"sha": COMMIT, "siblings": rows}).encode()


HONEST = plain(listing("config.json", "model.safetensors", "tokenizer.json"))


def serving(api: Any, file: Any = b"") -> RawServer:
    """A Hub whose every answer is these bytes, or comes from a function that goes on sending until nobody listens."""

    def talk(connection: socket.socket) -> None:
        while head := read_head(connection):
            answer = api if b" /api/" in head.split(b"\r\n")[0] else file
            if callable(answer):
                answer(connection)
                return
            connection.sendall(answer)

    return RawServer(talk)


def for_ever(first: bytes, then: bytes) -> Any:
    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(then)

    return send


@contextmanager
def little_memory() -> Iterator[Any]:
    """And what the block allocates besides is a bug."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < ROOM, f"{peak >> 20} MiB"


def bomb(size: int) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    return b"".join([*(pack.compress(b" " * (1 << 20)) for _ in range(size >> 20)), pack.flush()])


BLANKS = b" " * 65536
HEADERS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "body": for_ever(HEADERS + b"Connection: close\r\n\r\n", BLANKS),
    "body of a huge length": for_ever(HEADERS + b"Content-Length: 99999999999999999999\r\n\r\n", BLANKS),
    "chunks": for_ever(CHUNKED, b"10000\r\n" + BLANKS + b"\r\n"),
    "a chunk's size": for_ever(CHUNKED, b"0" * 65536),
    "a chunk's extension": for_ever(CHUNKED + b"1;", b"x" * 65536),
    "trailers": for_ever(CHUNKED + b"0\r\n", b"X-More: yes\r\n" * 100),
    "a status line": for_ever(b"", b"HTTP/1.1 200 " * 100),
    "one header": for_ever(HEADERS + b"X-Long: ", b"x" * 65536),
    "headers": for_ever(HEADERS, b"X-More: yes\r\n" * 100),
    "interim answers": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "brackets": for_ever(HEADERS + b"Connection: close\r\n\r\n", b"[" * 65536),
    "a number": for_ever(HEADERS + b'Connection: close\r\n\r\n{"sha": ', b"1" * 65536),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_as_a_listing(client: Connect, cache: Path, what: str) -> None:
    begin = time.monotonic()
    with serving(ENDLESS[what]) as server, little_memory(), pytest.raises(ModelDownloadError):
        fetch(NAME, hub=client(server.url), policy=BRIEF)
    assert time.monotonic() - begin < LONGEST + 10
    assert not list(cache.glob("models--*/refs/*"))


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_as_a_file(client: Connect, cache: Path, what: str) -> None:
    begin = time.monotonic()
    with serving(HONEST, ENDLESS[what]) as server, little_memory(), pytest.raises(ModelDownloadError):
        fetch(NAME, hub=client(server.url), policy=BRIEF)
    assert time.monotonic() - begin < LONGEST + 10
    assert not list(cache.glob("models--*/refs/*"))
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) < 1 << 20


ANSWERS = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "HTTP/9.9": b"HTTP/9.9 200 OK\r\n\r\n",
    "status 999": plain(b"", status="999 What"),
    "status 99": plain(b"", status="99 What"),
    "status -200": plain(b"", status="-200 What"),
    "no status": b"HTTP/1.1\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "length below nothing": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length of words": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "a length of digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "bad chunks": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunks below nothing": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "header without a name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n{}",
    "odd bytes in headers": b"HTTP/1.1 200 OK\r\nX: \xff\xfe\x00\r\n\r\n{}",
    "gzip that is none": plain(b"{}", "Content-Encoding: gzip"),
    "gzip in gzip": plain(gzip.compress(gzip.compress(CONFIG)), "Content-Encoding: gzip, gzip"),
    "a bomb": plain(bomb(64 << 20), "Content-Encoding: gzip"),
    "half of it": plain(HONEST)[:-40],
    "deep": plain(b"[" * 200_000),
    "deep and closed": plain(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "wait for ever": plain(b"", "Retry-After: " + "9" * 5000, status="429 Too Many"),
    "wait until the end": plain(b"", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", status="503 Later"),
    "wait below nothing": plain(b"", "Retry-After: -5", status="503 Later"),
    "a rate of digits": plain(b"", 'RateLimit: "api";r=0;t=' + "9" * 5000, status="429 Too Many"),
}
PLACES = {
    "in circles": "/api/again",
    "to a file": "file:///etc/passwd",
    "to another scheme": "gopher://127.0.0.1/",
    "to nowhere": "http://",
    "to no port": "http://127.0.0.1:99999/",
    "to no address": "http://[::1",
    "to odd bytes": "http://127.0.0.1:1/\xff\x01",
    "to a long place": "/" + "x" * 60_000,
    "to a user": "http://user:password@127.0.0.1:1/",
    "to a header": "/x\r\n\tX-Injected: yes",
}
ANSWERS |= {
    f"redirect {where}": plain(b"", f"Location: {place}", status="302 Found") for where, place in PLACES.items()
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_that_are_none(client: Connect, answer: str) -> None:
    begin = time.monotonic()
    with serving(ANSWERS[answer]) as server, little_memory(), pytest.raises(ModelDownloadError) as caught:
        fetch(NAME, hub=client(server.url), policy=BRIEF)
    assert time.monotonic() - begin < LONGEST + 10
    assert len(str(caught.value)) < 1000
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_that_are_no_file(client: Connect, cache: Path, answer: str) -> None:
    begin = time.monotonic()
    with serving(HONEST, ANSWERS[answer]) as server, little_memory(), pytest.raises(ModelDownloadError) as caught:
        fetch(NAME, hub=client(server.url), policy=BRIEF)
    assert time.monotonic() - begin < LONGEST + 10
    assert len(str(caught.value)) < 1000
    assert not list(cache.glob("models--*/refs/*"))


PATHS = [
    "../evil.json",
    "../../../../evil.json",
    "/tmp/evil.json",
    "//evil.json",
    "a/../../evil.json",
    "..\\evil.json",
    "C:\\evil.json",
    "C:evil.json",
    "~/../evil.json",
    "evil.json\0.json",
    "evil\n.json",
    "./evil.json",
    "evil.json/",
    "evil.json/.",
    "file.json:stream",
    "\ud800.json",
]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_path_that_leads_out(client: Connect, tmp_path: Path, path: Any) -> None:
    cache = tmp_path / "a/b/c/d/cache"  # far enough down for every way out to end where it is looked for
    before = set(tmp_path.rglob("*"))
    with serving(plain(listing("config.json", path)), plain(CONFIG)) as server, pytest.raises(ModelDownloadError):
        fetch(NAME, hub=client(server.url, cache_dir=cache), policy=BRIEF)
    made = [found for found in tmp_path.rglob("*") if found not in before and found not in cache.parents]
    assert all(found.is_relative_to(cache) for found in made)
    assert not list(cache.rglob("*.json"))
    assert not Path("/tmp/evil.json").exists()


ROWS = {
    "long": listing("config.json", "x" * 5000 + ".json"),
    "deep": listing("config.json", "x/" * 3000 + "x.json"),
    "negative": listing("config.json", size=-1),
    "a float": listing("config.json", size=2.5),
    "huge": listing("config.json", size=1 << 62),
    "too huge": listing("config.json", size=10**30),
    "twice": listing("config.json", "config.json")[:-2]
    + b', {"rfilename": "config.json", "size": 3, "blobId": "%s"}]}' % (b"b" * 40),
    "in itself": listing("config.json", "config.json/config.json"),
    "a digest that leads out": listing("config.json", blobId="../../../../../../../../../../../../evil.js"),
}


@pytest.mark.parametrize("row", ROWS)
def test_rows_that_lie(client: Connect, cache: Path, row: str) -> None:
    with serving(plain(ROWS[row]), plain(CONFIG)) as server, pytest.raises(ModelDownloadError):
        fetch(NAME, hub=client(server.url), policy=BRIEF)
    assert not list(cache.rglob("*.json"))


@pytest.fixture(scope="module")
def parrot() -> Iterator[Any]:
    """One server for all examples; it says what `parrot.words` holds."""

    def talk(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(server.words)

    server: Any = RawServer(talk)
    server.words = b""
    with server:
        yield server


WORDS = st.binary(max_size=200) | st.builds(
    lambda status, headers, body: b"HTTP/1.1 " + status + b"\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body,
    st.sampled_from([b"200 OK", b"206 P", b"302 F", b"416 R", b"429 T", b"503 U", b"700 X"]),
    st.lists(
        st.builds(
            lambda name, value: name + b": " + value,
            st.sampled_from(
                [
                    b"Content-Length",
                    b"Content-Range",
                    b"Content-Encoding",
                    b"Location",
                    b"Link",
                    b"Retry-After",
                    b"RateLimit",
                    b"Transfer-Encoding",
                    b"Connection",
                ]
            ),
            st.binary(max_size=20) | st.sampled_from([b"0", b"22", b"bytes 0-21/22", b"gzip", b"chunked", b"close"]),
        ),
        max_size=4,
    ),
    st.binary(max_size=30) | st.just(CONFIG),
)
FILE = RemoteFile("config.json", len(CONFIG), CONFIG_SHA1, "git-sha1")


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS)
def test_whatever_a_server_says_the_error_is_ours(parrot: Any, client: Connect, words: Any) -> None:
    parrot.words = words
    hub = client(parrot.url)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: hub.listing(NAME, "main", timeout=0.3),
        lambda: hub.open_file(NAME, COMMIT, FILE, 0, location=None, connect=0.3, stall=0.3),
    )
    for call in calls:
        try:
            found = call()
            if hasattr(found, "read"):
                while found.read():
                    pass
                found.close()
        except (Transient, ModelDownloadError):
            pass


def test_cookies_and_tokens_stay_where_they_belong(client: Connect) -> None:
    heads = []

    def note(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(plain(CONFIG))

    with RawServer(note) as other:
        away = plain(
            b"", f"Location: {other.url}/x", "Set-Cookie: session=secret; Domain=127.0.0.1", status="302 Found"
        )
        with serving(HONEST, away) as server:
            hub = client(server.url, token="hf_secret")
            hub.listing(NAME, "main", timeout=2.0)
            hub.open_file(NAME, COMMIT, FILE, 0, location=None, connect=2.0, stall=2.0).close()
    assert len(heads) == 1
    assert b"secret" not in heads[0]
    assert b"authorization" not in heads[0].lower()
