"""Servers that know ranges only half: what they still give is used, and what contradicts the listing is not."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient
from tests.support.servers import RawServer, read_head
from tests.wires.support import NAME, Connect

DATA = bytes(range(256)) * 4
FILE = RemoteFile("model.safetensors", len(DATA), "a" * 64, "sha256")
COMMIT = "c" * 40
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(DATA), DATA)
NOT_SATISFIABLE = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */%d\r\nContent-Length: 0\r\n\r\n"


def part(first: int, last: int, total: str, data: bytes) -> bytes:
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


@contextmanager
def answering(answer: Callable[[str | None], bytes]) -> Iterator[Any]:
    """A server that answers by the Range it is asked for, and the ranges that it was asked for."""
    asked: list[str | None] = []

    def talk(connection: socket.socket) -> None:
        while head := read_head(connection):
            found = re.search(rb"(?im)^range: *(\S+)", head)
            asked.append(found[1].decode() if found else None)
            connection.sendall(answer(asked[-1]))

    with RawServer(talk) as server:
        yield server, asked


def open_at(hub: Any, start: Any, end: Any = None) -> Any:
    return hub.open_file(NAME, COMMIT, FILE, start, end, location=None, connect=2.0, stall=2.0)


def content(body: Any) -> Any:
    try:
        return b"".join(iter(body.read, b""))
    finally:
        body.close()


def test_a_range_with_an_end_is_asked_for_as_such(client: Connect) -> None:
    with answering(lambda _: part(100, 199, str(len(DATA)), DATA[100:200])) as (server, asked):
        body = open_at(client(server.url), 100, 200)
        assert (body.start, content(body)) == (100, DATA[100:200])
    assert asked == ["bytes=100-199"]


@pytest.mark.parametrize("last", [149, 299], ids=["ends early", "goes on"])
def test_another_end_is_the_callers_matter(client: Connect, last: int) -> None:
    with answering(lambda _: part(100, last, "*", DATA[100 : last + 1])) as (server, asked):
        body = open_at(client(server.url), 100, 200)
        assert (body.start, content(body)) == (100, DATA[100 : last + 1])
    assert len(asked) == 1


HALF_KNOWN = {
    "not satisfiable": NOT_SATISFIABLE % len(DATA),
    "another start": part(50, 149, str(len(DATA)), DATA[50:150]),
    "another total": part(100, 199, "7", DATA[100:200]),
    "no range named": b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("answer", HALF_KNOWN)
def test_a_server_that_spoils_ranges_is_asked_once_for_the_whole(client: Connect, answer: str) -> None:
    with answering(lambda span: HALF_KNOWN[answer] if span else WHOLE) as (server, asked):
        body = open_at(client(server.url), 100)
        assert (body.start, content(body)) == (0, DATA)
    assert asked == ["bytes=100-", None]


@pytest.mark.parametrize("answer", HALF_KNOWN)
def test_and_not_once_more(client: Connect, answer: str) -> None:
    with answering(lambda _: HALF_KNOWN[answer]) as (server, asked), pytest.raises(Transient):
        open_at(client(server.url), 100)
    assert asked == ["bytes=100-", None]


def test_a_whole_of_another_length_is_not_the_file(client: Connect) -> None:
    other = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with answering(lambda span: HALF_KNOWN["not satisfiable"] if span else other) as (server, asked):
        with pytest.raises(Transient, match="something else where"):
            open_at(client(server.url), 100)
        assert len(asked) == 2
