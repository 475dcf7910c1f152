"""Several endpoints: whichever is up delivers, at once and with the digests of the one that listed."""

from __future__ import annotations

import dataclasses
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from phaita_loader import Hub, NotFound, Unreachable, fetch
from tests.hub import Answer
from tests.support.servers import RawServer, drip, nobody
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, assert_whole, bodies, repo

TOKEN = "hf_SecretSecretSecret"
ONCE = dataclasses.replace(QUICK, attempts=1)


@pytest.fixture
def client(cache: Path) -> Any:
    """As the shared fixture, for several endpoints."""
    return lambda *endpoints, **options: Hub(
        [where if isinstance(where, str) else where.url for where in endpoints],
        **{"token": False, "cache_dir": cache, **options},
    )


DOWN: dict[str, dict[str, Any]] = {
    "busy": {"status": 503},
    "portal": {"portal": 200},
    "redirecting portal": {"portal": 302},
    "broken": {"status": 500, "body": b"<html>"},
}


@pytest.mark.parametrize("how", DOWN)
def test_a_mirror_steps_in_within_the_attempt(
    serve: Serve, client: Connect, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    served = repo(MIB)
    first, mirror = serve(repo(MIB)), serve(served)
    first.answer(Answer(on="hub", times=None, **DOWN[how]))
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        snapshot = fetch(NAME, hub=client(first, mirror), policy=ONCE)
    assert_whole(snapshot, served)
    assert snapshot.attempts == ()
    asked = [seen for seen in first.seen if "portal" not in seen.path]
    assert len(asked) == 1, "it is left for good, not tried for every file"
    assert [record.getMessage() for record in caplog.records if mirror.url in record.getMessage()]


def test_nobody_at_the_first_endpoint(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    assert_whole(fetch(NAME, hub=client(nobody(), serve(served)), policy=ONCE), served)


def test_a_dripping_first_endpoint_does_not_hold_the_attempt(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    policy = dataclasses.replace(ONCE, connect=1)
    with RawServer(drip) as first:
        assert_whole(fetch(NAME, hub=client(first.url, serve(served)), policy=policy), served)


def test_a_dripping_body_does_not_hold_it_either(serve: Serve, client: Connect) -> None:
    """Each byte is in time; the listing as a whole is not."""
    served = repo(MIB)

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    with RawServer(talk) as first:
        hub = client(first.url, serve(served))
        assert_whole(fetch(NAME, hub=hub, policy=dataclasses.replace(ONCE, connect=1)), served)


def test_files_come_from_the_mirror_when_the_first_fails_after_the_listing(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    first, mirror = serve(served), serve(repo(MIB))
    first.answer(Answer(on="hub", match="/resolve", status=503, times=None))
    assert_whole(fetch(NAME, hub=client(first, mirror), policy=ONCE), served)
    assert bodies(mirror)
    assert not [seen for seen in mirror.seen if "/api/models/" in seen.path and "resolve" not in seen.path]


def test_a_mirror_that_is_behind_is_passed_over(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    first, behind, mirror = serve(served), serve(repo(MIB, seed=7)), serve(repo(MIB))
    first.answer(Answer(on="hub", match="/resolve", status=503, times=None))
    assert_whole(fetch(NAME, hub=client(first, behind, mirror), policy=ONCE), served)
    assert not bodies(behind)
    assert bodies(mirror)


def test_what_the_first_does_not_have_is_not_looked_for_elsewhere(serve: Serve, client: Connect) -> None:
    first, mirror = serve(), serve(repo(MIB))
    with pytest.raises(NotFound):
        fetch(NAME, hub=client(first, mirror), policy=QUICK)
    assert not mirror.seen


def test_when_all_fail_the_attempts_go_on(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    first, mirror = serve(served), serve(served)
    first.answer(Answer(on="hub", match="/api/models/", status=503))
    mirror.answer(Answer(on="hub", match="/api/models/", status=503))
    snapshot = fetch(NAME, hub=client(first, mirror), policy=QUICK)
    assert_whole(snapshot, served)
    assert [attempt.step for attempt in snapshot.attempts] == ["listing"]
    assert bodies(first)
    assert not bodies(mirror)


def test_nobody_anywhere(client: Connect) -> None:
    with pytest.raises(Unreachable) as caught:
        fetch(NAME, hub=client(nobody(), nobody()), policy=QUICK)
    assert len(caught.value.attempts) == QUICK.attempts


def test_only_the_first_sees_the_token(serve: Serve, client: Connect) -> None:
    first, mirror = serve(repo(MIB), tokens={TOKEN: [NAME]}), serve(repo(MIB))
    first.answer(Answer(on="hub", match="/resolve", status=503, times=None))
    fetch(NAME, hub=client(first, mirror, token=TOKEN), policy=ONCE)
    assert {seen.authorised for seen in first.seen} == {True}
    assert bodies(mirror)
    assert not any(seen.authorised for seen in mirror.seen)


def test_threads_share_what_was_learnt(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    first, mirror = serve(served), serve(served)
    first.answer(Answer(on="hub", times=None, status=503))
    hub, start = client(first, mirror), threading.Barrier(4)

    def listed(_: Any) -> Any:
        start.wait(10)
        return hub.listing(NAME, "main", timeout=5.0).endpoint

    with ThreadPoolExecutor(4) as executor:
        assert set(executor.map(listed, range(4))) == {mirror.url}
    assert len(first.seen) <= 4
    hub.listing(NAME, "main", timeout=5.0)
    assert len(first.seen) <= 4


def test_a_commit_that_only_one_has_is_fetched_from_it(serve: Serve, client: Connect) -> None:
    """The first endpoint lists; a mirror with other commits is asked for this one, and has it not."""
    served = repo(MIB)
    first, other = serve(served), serve(repo(MIB, seed=3))
    first.answer(Answer(on="hub", match=f"/resolve/.*{WEIGHTS}", status=503, times=1))
    assert_whole(fetch(NAME, hub=client(first, other), policy=QUICK), served)
