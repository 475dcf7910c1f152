"""Answers that act on a body: it is cut, changed, slowed down, made longer or packed, and its length tells or lies."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from huggingface_hub import hf_hub_download

from tests.hub import Answer, LocalHub
from tests.hub.conftest import PLAIN_AND_TLS, PUBLIC, WEIGHTS, Client, connect_to

pytestmark = PLAIN_AND_TLS

INFO = "/api/models/org/name"


def test_a_cut_under_the_full_content_length(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", match="model.safetensors", cut=1_000_000))
    with pytest.raises(urllib3.exceptions.ProtocolError) as error:
        client.get(signed)
    assert f"1000000 bytes read, {len(WEIGHTS) - 1_000_000} more expected" in str(error.value)
    assert hub.seen[-1].bytes_sent == 1_000_000
    assert client.get(signed).data == WEIGHTS


def test_a_cut_before_the_first_byte_and_of_ranges(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(cut=0))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.get(signed)
    hub.answer(Answer(cut=100))
    assert len(client.get(signed, {"Range": "bytes=0-99"}).data) == 100
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.get(signed, {"Range": "bytes=0-100"})


def test_one_flipped_byte(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", flip=2_000_000))
    assert client.get(signed, {"Range": "bytes=0-1999999"}).data == WEIGHTS[:2_000_000]
    assert client.get(signed, {"Range": "bytes=1999999-2000001"}).data == bytes(
        [WEIGHTS[1_999_999], WEIGHTS[2_000_000] ^ 0xFF, WEIGHTS[2_000_001]]
    )
    assert client.get(signed).data == WEIGHTS
    hub.answer(Answer(on="cdn", flip=2_000_000))
    assert [i for i, (a, b) in enumerate(zip(client.get(signed).data, WEIGHTS, strict=True)) if a != b] == [2_000_000]


def test_a_flipped_byte_passes_the_real_client_unseen(hub: LocalHub, tmp_path: Path) -> None:
    hub.answer(Answer(on="cdn", flip=5))
    file = hf_hub_download("org/name", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert Path(file).read_bytes() != WEIGHTS
    assert Path(file).stat().st_size == len(WEIGHTS)


def test_a_body_that_pauses(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", pause=30.0, after=1000))
    with client.pool.request(
        "GET", signed, preload_content=False, retries=False, timeout=urllib3.Timeout(connect=5, read=1)
    ) as answer:
        assert answer.headers["Content-Length"] == str(len(WEIGHTS))
        assert answer.read(1000) == WEIGHTS[:1000]
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            answer.read(1)


def test_a_short_pause_loses_nothing(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(pause=0.01, after=len(WEIGHTS) - 1, match="safetensors"))
    assert client.get(client.signed(hub)).data == WEIGHTS


def test_body_answers_wait_for_a_file(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(cut=1))
    assert client.get(hub.url + INFO).status == 200
    assert client.head(f"{hub.url}/api/resolve-cache/models/org/name/{PUBLIC.shas[1]}/config.json").status == 200
    with pytest.raises(urllib3.exceptions.ProtocolError):
        client.get(f"{hub.url}/api/resolve-cache/models/org/name/{PUBLIC.shas[1]}/config.json")


def open_body(client: Client, url: str) -> urllib3.BaseHTTPResponse:
    """The answer to a GET, its body not yet read."""
    return client.pool.request("GET", url, preload_content=False, retries=False, timeout=20)


@pytest.mark.parametrize("point", [0, 1, 1_000_000, len(WEIGHTS) - 1])
def test_a_reset_comes_after_so_many_bytes(hub: LocalHub, client: Client, point: int) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", reset=point))
    with open_body(client, signed) as answer:
        got = answer.read(point)
        with pytest.raises(urllib3.exceptions.ProtocolError, match=_reset(hub)):
            answer.read1(1)
    assert (got == WEIGHTS[:point], hub.seen[-1].bytes_sent) == (True, point)
    assert client.get(signed).data == WEIGHTS


def test_a_listing_can_be_reset_too(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(match="/api/", reset=10))
    with pytest.raises(urllib3.exceptions.ProtocolError, match=_reset(hub)):
        client.get(hub.url + INFO)


def _reset(hub: LocalHub) -> str:
    """OpenSSL tells some Pythons of a reset as if it were an end."""
    return "reset by peer|IncompleteRead" if hub.url.startswith("https:") else "reset by peer"


def test_a_dripping_body_is_whole(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(drip=10_000_000))
    assert client.get(signed).data == WEIGHTS
    hub.answer(Answer(drip=20, after=len(WEIGHTS) - 1))
    assert client.get(signed).data == WEIGHTS


@pytest.mark.parametrize("path", [INFO, f"/api/resolve-cache/models/org/name/{PUBLIC.shas[1]}/config.json"])
def test_a_drip_of_one_byte_a_second(hub: LocalHub, client: Client, path: str) -> None:
    hub.answer(Answer(drip=1, after=2))
    answer = open_body(client, hub.url + path)
    answer.drain_conn = lambda: None  # type: ignore[method-assign]  # one response alone is changed
    assert answer.read(3).startswith(b"{")
    assert hub.seen[-1].bytes_sent < 8
    answer.close()


@contextmanager
def wire(hub: LocalHub, url: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET, by a client that shows what is on the wire."""
    parts = urlsplit(url)
    with connect_to(hub, "cdn") as sock, closing(http.client.HTTPConnection(parts.netloc)) as connection:
        connection.sock = sock
        connection.request("GET", f"{parts.path}?{parts.query}")
        with connection.getresponse() as answer:
            yield answer


@pytest.mark.parametrize(
    ("declared", "length", "extra"),
    [("all", str(len(WEIGHTS) + 100_000), 100_000), ("file", str(len(WEIGHTS)), 0), ("nothing", None, 100_000)],
)
def test_a_body_longer_than_the_file(
    hub: LocalHub, client: Client, declared: str, length: str | None, extra: int
) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", long=100_000, declared=declared))
    with wire(hub, signed) as answer:
        assert answer.headers["Content-Length"] == length
        assert answer.read() == WEIGHTS + bytes(extra)
    assert len(hub.seen) == 2


def test_what_is_more_than_the_content_length_is_on_the_wire(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", long=5, declared="file"))
    with wire(hub, signed) as answer:
        assert answer.fp.read() == WEIGHTS + bytes(5)
    assert hub.seen[-1].bytes_sent == len(WEIGHTS) + 5


@pytest.mark.parametrize("lie", ["bytes 0-9/3000001", "bytes 10-19/7", "lines 1-2", ""])
def test_a_content_range_that_lies(hub: LocalHub, client: Client, lie: str) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", bad_range=lie))
    assert client.get(signed).status == 200
    answer = client.get(signed, {"Range": "bytes=10-19"})
    assert (answer.status, answer.headers.get("Content-Range", "")) == (206, lie)
    assert answer.data == WEIGHTS[10:20]
    assert client.get(signed, {"Range": "bytes=10-19"}).headers["Content-Range"] == f"bytes 10-19/{len(WEIGHTS)}"


def test_gzip_that_nobody_asked_for(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(gzip=True, times=3))
    with open_body(client, signed) as answer:
        packed = answer.read(decode_content=False)
    assert (answer.headers["Content-Encoding"], "Content-Length" in answer.headers) == ("gzip", False)
    assert gzip.decompress(packed) == WEIGHTS
    part = client.get(signed, {"Range": "bytes=10-19"})
    assert (part.status, part.data) == (206, WEIGHTS[10:20])
    assert json.loads(client.get(hub.url + INFO).data)["id"] == "org/name"
