"""One large file over several connections, on real sockets."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from phaita_loader import fetch
from phaita_loader.progress import Received
from tests.hub import Answer
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, assert_whole, bodies, repo, sent

SIZE = 40 * MIB
PATIENT = dataclasses.replace(QUICK, stall=10)


def resolved(hub: Any) -> Any:
    """Return the number of requests to the Hub for the large file's location."""
    return sum(seen.origin == "hub" and "/resolve/" in seen.path and WEIGHTS in seen.path for seen in hub.seen)


@pytest.mark.parametrize("connections", [1, 4])
def test_no_byte_comes_twice_however_many_there_are(serve: Serve, client: Connect, connections: int) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", pause=3, after=MIB, times=4))  # long enough for the others to come
    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(PATIENT, connections=connections))
    assert_whole(snapshot, served)
    assert len({seen.connection for seen in bodies(hub)}) == connections
    assert sent(hub) == served.files()[WEIGHTS].size
    assert resolved(hub) == 1


def test_a_fast_link_needs_only_one(serve: Serve, client: Connect) -> None:
    hub = serve(repo(SIZE))
    fetch(NAME, hub=client(hub), policy=QUICK)
    assert len({seen.connection for seen in bodies(hub)}) == 1


def test_drops_on_all_of_them_cost_no_attempt_and_no_new_location(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", cut=300_000, times=None))
    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(PATIENT, attempts=1))
    assert_whole(snapshot, served)
    assert sent(hub) == served.files()[WEIGHTS].size
    assert resolved(hub) == 1


def test_a_connection_that_is_refused_is_done_without(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", pause=3, after=MIB))
    hub.answer(Answer(on="cdn", status=503, skip=1))
    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(PATIENT, attempts=1))
    assert_whole(snapshot, served)
    assert snapshot.attempts == ()


def test_a_signed_location_that_runs_out_is_renewed_for_all(serve: Serve, client: Connect) -> None:
    served, now = repo(SIZE), [1000.0]
    hub = serve(served, clock=lambda: now[0], expires_in=60.0)
    hub.answer(Answer(on="cdn", pause=3, after=MIB))

    def listen(event: Any) -> None:
        if isinstance(event, Received) and event.path == WEIGHTS:
            now[0] = 2000.0

    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(PATIENT, attempts=1), listen=listen)
    assert_whole(snapshot, served)
    assert snapshot.attempts == ()
    assert 403 in [seen.status for seen in bodies(hub)]
    assert 2 <= resolved(hub) <= 5


def test_a_wrong_byte_on_any_of_them_is_found(serve: Serve, client: Connect) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", flip=SIZE - 100))
    snapshot = fetch(NAME, hub=client(hub), policy=QUICK)
    assert_whole(snapshot, served)
    assert [attempt.spoiled for attempt in snapshot.attempts] == [True]


def test_no_thread_is_left_behind(serve: Serve, client: Connect) -> None:
    hub = serve(repo(SIZE))
    before = set(threading.enumerate())
    fetch(NAME, hub=client(hub), policy=QUICK)
    late = [one for one in threading.enumerate() if one not in before and one.name.startswith("phaita")]
    for thread in late:
        thread.join(10)
        assert not thread.is_alive()
