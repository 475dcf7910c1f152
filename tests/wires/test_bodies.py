"""Bodies that break, lie or stop: every byte that arrived counts, and no wrong one gets into the cache."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest

from phaita_loader import Corrupt, ModelDownloadError, ModelRequest, Unreachable, fetch
from tests.hub import Answer
from tests.support.servers import RawServer, read_head
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, assert_whole, bodies, repo, sent

SIZE = 3 * MIB
ONCE = dataclasses.replace(QUICK, attempts=1)


def blobs(cache: Path) -> Any:
    return {path.name for path in cache.glob("models--*/blobs/*")}


def test_bodies_that_are_cut_go_on_where_they_ended(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=MIB, times=2))
    snapshot = fetch(NAME, hub=client(hub), policy=ONCE)
    assert_whole(snapshot, served)
    assert snapshot.attempts == (), "a connection is no attempt"
    assert [seen.range for seen in bodies(hub)] == ["bytes=0-", f"bytes={MIB}-", f"bytes={2 * MIB}-"]
    assert sent(hub) == served.files()[WEIGHTS].size, "no byte twice"


def test_a_signed_location_serves_again_without_asking_the_hub(serve: Serve, client: Connect) -> None:
    hub = serve(repo(SIZE))
    hub.answer(Answer(on="cdn", cut=MIB, times=2))
    fetch(NAME, hub=client(hub), policy=ONCE)
    assert len([seen for seen in hub.seen if seen.path.endswith(f"/resolve/{hub.repos[NAME].shas[0]}/{WEIGHTS}")]) == 1


def test_a_silent_body_is_dropped_and_resumed(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", pause=30, after=MIB))
    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(QUICK, stall=1))
    assert_whole(snapshot, served)
    assert bodies(hub)[-1].range == f"bytes={MIB}-"


def test_what_a_failed_call_brought_serves_the_next(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=MIB))
    hub.answer(Answer(on="cdn", status=503, times=None, skip=1))
    with pytest.raises(Unreachable):
        fetch(NAME, hub=client(hub), policy=ONCE)
    hub.clear()
    assert_whole(fetch(NAME, hub=client(hub), policy=ONCE), served)
    assert sent(hub) == served.files()[WEIGHTS].size - MIB


def test_a_server_that_ignores_ranges_is_read_from_the_start(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=MIB))
    hub.answer(Answer(on="cdn", ignore_range=True, times=None, skip=1))
    assert_whole(fetch(NAME, hub=client(hub), policy=ONCE), served)
    assert [seen.status for seen in bodies(hub)] == [206, 200]


def test_bytes_that_are_there_are_not_written_over(serve: Serve, client: Connect) -> None:
    """They may have been digested: other bytes in their place would enter the cache under a digest that fits."""
    served = repo(6 * MIB)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=5 * MIB))
    hub.answer(Answer(on="cdn", ignore_range=True, skip=1, times=2))
    hub.answer(Answer(on="cdn", flip=1000, times=2))
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)


def test_a_flipped_byte_costs_an_attempt(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", flip=MIB))
    snapshot = fetch(NAME, hub=client(hub), policy=QUICK)
    assert_whole(snapshot, served)
    assert [attempt.spoiled for attempt in snapshot.attempts] == [True]


@pytest.mark.parametrize(("on", "path"), [("cdn", WEIGHTS), ("hub", "config.json")])
def test_bytes_that_are_always_wrong_never_enter_the_cache(
    serve: Serve, client: Connect, cache: Path, on: str, path: Any
) -> None:
    served = repo(MIB)
    hub = serve(served)
    hub.answer(Answer(on=on, match=path, flip=10, times=None))
    with pytest.raises(Corrupt) as caught:
        fetch(NAME, hub=client(hub), policy=QUICK)
    assert len(caught.value.attempts) == QUICK.attempts
    assert served.files()[path].digest not in blobs(cache)
    assert not list(cache.glob("models--*/refs/*"))


def test_a_damaged_blob_in_the_cache_is_fetched_again(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(MIB)
    hub = serve(served)
    fetch(NAME, hub=client(hub), policy=QUICK)
    blob = next(cache.glob(f"models--*/blobs/{served.files()[WEIGHTS].digest}"))
    blob.write_bytes(b"\0" * blob.stat().st_size)
    hub.clear()
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert len(bodies(hub)) == 1


def test_an_expired_signed_url_is_renewed(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=MIB))
    hub.answer(Answer(on="cdn", expired=True, skip=1))
    snapshot = fetch(NAME, hub=client(hub), policy=ONCE)
    assert_whole(snapshot, served)
    assert [seen.status for seen in bodies(hub)] == [206, 403, 206]
    assert sent(hub) - bodies(hub)[1].bytes_sent == served.files()[WEIGHTS].size


@pytest.mark.parametrize("portal", [200, 302])
@pytest.mark.parametrize(
    ("on", "match"), [("hub", "/api/models/"), ("hub", "/resolve/"), ("hub", "config.json"), ("cdn", "")]
)
def test_a_captive_portal_costs_an_attempt_and_no_byte(
    serve: Serve, client: Connect, on: str, match: str, portal: int
) -> None:
    served = repo(MIB)
    hub = serve(served)
    hub.answer(Answer(on=on, match=match, portal=portal))
    snapshot = fetch(NAME, hub=client(hub), policy=QUICK)
    assert_whole(snapshot, served)
    assert len(snapshot.attempts) == 1


def test_a_captive_portal_in_mid_body_keeps_what_arrived(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=MIB))
    hub.answer(Answer(on="cdn", portal=200, skip=1))
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert bodies(hub)[-1].range == f"bytes={MIB}-"


def cdn_that_answers(*heads_and_body: Any) -> RawServer:
    def talk(connection: socket.socket) -> None:
        read_head(connection)
        for part in heads_and_body:
            connection.sendall(part)

    return RawServer(talk)


def with_cdn(serve: Serve, server: Any, served: Any) -> Any:
    hub = serve(served)
    hub.public_cdn_url = server.url
    return hub


def content(served: Any) -> Any:
    with served.files()[WEIGHTS].open() as source:
        return source.read()


def test_a_body_that_goes_on_beyond_its_end_is_cut_there(serve: Serve, client: Connect) -> None:
    """With no length declared; the surplus is neither counted nor kept."""
    served = repo(MIB)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    with cdn_that_answers(head, content(served), b"and more" * 1000) as cdn:
        assert_whole(fetch(NAME, hub=client(with_cdn(serve, cdn, served)), policy=ONCE), served)


LIES = {
    "a length that is not the listing's": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
    "a compressed body": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n",
    "another range": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-99/%d\r\n\r\n",
    "no range at all": b"HTTP/1.1 206 Partial Content\r\nX-Size: %d\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6 %d\r\n",
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_contradicts_the_listing_is_not_read(
    serve: Serve, client: Connect, cache: Path, lie: str
) -> None:
    served = repo(MIB)
    size = served.files()[WEIGHTS].size + (5 if "length" in lie else 0)
    with cdn_that_answers(LIES[lie] % size, b"x" * 1000) as cdn, pytest.raises(ModelDownloadError) as caught:
        fetch(ModelRequest(NAME, allow_patterns=(WEIGHTS,)), hub=client(with_cdn(serve, cdn, served)), policy=QUICK)
    assert type(caught.value) is Unreachable
    assert [attempt.received for attempt in caught.value.attempts] == [0, 0]
    assert served.files()[WEIGHTS].digest not in blobs(cache)
