"""A deadline ends everything, also what no socket timeout can: at most a second late, with nothing left running."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from phaita_loader import DeadlineExceeded, Hub, ModelRequest, Policy, fetch
from tests.hub import Answer
from tests.support.servers import RawServer, drip, forward_to, read_head
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, bodies, fresh_process, repo

DEADLINE = 0.5
# Patience that outlasts the test wherever the deadline is not kept.
PATIENT = dataclasses.replace(QUICK, attempts=9, timeout=100, stall=100, connect=100, deadline=DEADLINE)


def drip_body(connection: socket.socket) -> None:
    """A body that never falls silent and never ends."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        connection.sendall(b"z")
        time.sleep(0.05)


def accept_and_wait(connection: socket.socket) -> None:
    """The connection stands and no answer comes."""
    read_head(connection)
    connection.recv(1)


TALKS = {"nobody accepts": None, "no answer": accept_and_wait, "dripped headers": drip, "dripped body": drip_body}


def assert_ends_in_time(hub: Hub, policy: Policy = PATIENT) -> None:
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        fetch(NAME, hub=hub, policy=policy)
    assert time.monotonic() - begin < DEADLINE + 1


@pytest.mark.parametrize("talk", TALKS)
def test_the_listing_ends_at_the_deadline(client: Connect, talk: str) -> None:
    with RawServer(TALKS[talk]) as server:
        assert_ends_in_time(client(server.url))


@pytest.mark.parametrize("talk", TALKS)
def test_a_body_ends_at_the_deadline(serve: Serve, client: Connect, talk: str) -> None:
    hub = serve(repo(MIB))
    with RawServer(TALKS[talk]) as cdn:
        hub.public_cdn_url = cdn.url
        assert_ends_in_time(client(hub))


def test_a_wait_that_the_deadline_cuts_off_is_not_begun(serve: Serve, client: Connect) -> None:
    hub = serve(repo(MIB))
    hub.answer(Answer(status=503, times=None))
    policy = dataclasses.replace(PATIENT, backoff=dataclasses.replace(QUICK.backoff, first=30))
    assert_ends_in_time(client(hub), policy)


def test_nothing_goes_on_after_the_deadline(serve: Serve, client: Connect) -> None:
    hub = serve(repo(3 * MIB))
    hub.answer(Answer(on="cdn", pause=60, after=MIB))
    before = set(threading.enumerate())
    assert_ends_in_time(client(hub))
    ours = [one for one in threading.enumerate() if one not in before and one.name.startswith("phaita-")]
    for thread in ours:
        thread.join(20)
    assert [thread.name for thread in ours if thread.is_alive()] == []
    assert len(bodies(hub)) == 1


def test_a_dripped_answer_does_not_hold_an_attempt_for_good(serve: Serve, client: Connect) -> None:
    """No deadline: the watch over a connection's opening ends it, and the next attempt has a new one."""
    served = repo(MIB)
    hub = serve(served)
    dripped = threading.Event()

    def once(connection: socket.socket) -> Any:
        if dripped.is_set():
            return forward_to(hub.cdn_url)(connection)
        dripped.set()
        return drip(connection)

    with RawServer(once) as cdn:
        hub.public_cdn_url = cdn.url
        snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(QUICK, connect=0.5))
    assert len(snapshot.attempts) == 1


def test_connections_of_a_network_that_went_away_cost_one_attempt(serve: Serve, client: Connect) -> None:
    """Idle ones look alive and swallow every request: after the first, none of the others is tried, now or later."""
    hub = serve(repo(1000), repo(1000, "org/next"))
    at_once = Answer(on="hub", match="/resolve/", delay=0.2, times=3)
    gone = threading.Event()
    with RawServer(lambda connection: forward_to(hub.url, None if gone.is_set() else gone)(connection)) as front:
        ours, policy = client(front.url), dataclasses.replace(QUICK, connect=2.0)
        hub.answer(at_once)
        fetch(NAME, hub=ours, policy=policy)
        gone.set()
        first = fetch(ModelRequest(NAME, allow_patterns=("README.md",)), hub=ours, policy=policy)
        hub.answer(at_once)
        second = fetch("org/next", hub=ours, policy=policy)
    assert [attempt.step for attempt in first.attempts] == ["listing"]
    assert second.attempts == ()


def test_the_interpreter_does_not_wait_for_what_was_left_behind(cache: Path) -> None:
    code = (
        "import time\n"
        "from phaita_loader import *\n"
        "try: fetch('org/name', hub=Hub({!r}, token=False, cache_dir={!r}), policy=Policy(deadline=0.5))\n"
        "except DeadlineExceeded: print(time.time(), flush=True)\n"
    )
    with RawServer(drip) as server, fresh_process(code.format(server.url, str(cache))) as process:
        told = float(process.communicate(timeout=60)[0])
        assert time.time() - told < 10  # the drip never ends
        assert process.returncode == 0


@pytest.fixture
def stuck_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A resolver that never answers for these names, and answers for all others."""
    go_on, asked, honest = threading.Event(), [], socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not str(host).endswith(".test"):
            return honest(host, *args, **kwargs)
        asked.append(host)
        go_on.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    go_on.set()


def test_a_resolver_that_never_answers_for_the_hub(client: Connect, stuck_names: Any) -> None:
    assert_ends_in_time(client("http://hub.test"))
    assert stuck_names == ["hub.test"]


def test_a_resolver_that_never_answers_for_the_cdn(serve: Serve, client: Connect, stuck_names: Any) -> None:
    hub = serve(repo(MIB))
    hub.public_cdn_url = "http://cdn.test"
    assert_ends_in_time(client(hub))
    assert stuck_names == ["cdn.test"]


def test_a_lock_that_is_never_given_back(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(MIB)
    lock = cache / ".locks" / "models--org--name" / f"{served.files()[WEIGHTS].digest}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        assert_ends_in_time(client(serve(served)))
