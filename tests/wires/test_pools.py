"""Connections come from a pool of our own, a given pool, or the client that huggingface_hub was given."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import urllib3
from huggingface_hub import close_session, set_client_factory
from huggingface_hub.utils import _http

from phaita_loader import DeadlineExceeded, NotFound, Unreachable, fetch
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient
from tests.hub import Answer
from tests.support.forward_proxy import ForwardProxy
from tests.support.servers import RawServer, drip, forward_to, nobody, read_head
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, assert_whole, bodies, repo, sent

ONCE = dataclasses.replace(QUICK, attempts=1)
TOKEN = "hf_SecretSecretSecret"


class Counting:
    """A user's client that notes what it is asked to send."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[Any] = []
        self.client = httpx2.Client(event_hooks={"request": [self._note]}, follow_redirects=True, **options)

    def _note(self, request: httpx2.Request) -> None:
        self.asked.append(str(request.url))


@pytest.fixture
def given() -> Iterator[Any]:
    """A client factory in force, as `set_client_factory` puts it there."""
    made = Counting(trust_env=False)
    set_client_factory(lambda: made.client)
    yield made
    set_client_factory(_http.default_client_factory)
    made.client.close()


def test_a_pool_of_the_users_makes_every_request(serve: Serve, client: Connect) -> None:
    served = repo(MIB)
    hub = serve(served)
    with ForwardProxy(live=True, plain=True, password="user:p@ss") as proxy:
        headers = urllib3.make_headers(proxy_basic_auth="user:p@ss")
        with urllib3.ProxyManager(proxy.url.replace("user:p@ss@", ""), proxy_headers=headers) as pool:
            assert_whole(fetch(NAME, hub=client(hub, pool=pool), policy=QUICK), served)
        assert len(proxy.asked) == len(hub.seen)
        assert bodies(hub)


def test_its_own_retries_and_redirects_stay_out(serve: Serve, client: Connect) -> None:
    """A pool that would try ten times, and follow to anywhere with the token, does neither here."""
    hub = serve(repo(MIB, private=True), tokens={TOKEN: [NAME]})
    hub.answer(Answer(on="hub", match="/api/models/", status=503, times=None))
    retries = urllib3.Retry(10, status_forcelist=[503], backoff_factor=10)
    with urllib3.PoolManager(retries=retries) as pool, pytest.raises(Unreachable):
        fetch(NAME, hub=client(hub, pool=pool, token=TOKEN), policy=QUICK)
    assert len(hub.seen) == QUICK.attempts


def test_what_a_client_factory_made_makes_every_request(serve: Serve, client: Connect, given: Any) -> None:
    served = repo(MIB, private=True)
    hub = serve(served, tokens={TOKEN: [NAME]})
    assert_whole(fetch(NAME, hub=client(hub, token=TOKEN), policy=QUICK), served)
    assert len(given.asked) == len(hub.seen)
    assert {(seen.origin, seen.authorised) for seen in hub.seen} == {("hub", True), ("cdn", False)}


def test_without_a_factory_the_librarys_client_is_not_used(
    serve: Serve, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_session()
    fetch(NAME, hub=client(serve(repo(1000))), policy=QUICK)
    assert _http._GLOBAL_CLIENT is None


def test_the_names_by_which_a_factory_is_noticed() -> None:
    """They are not public; without them a factory is passed over in silence."""
    assert _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory


@pytest.mark.parametrize("cut", [{"cut": MIB}, {"pause": 30, "after": MIB}])
def test_bodies_go_on_over_a_given_client(serve: Serve, client: Connect, given: Any, cut: Any) -> None:
    served = repo(3 * MIB)
    hub = serve(served)
    hub.answer(Answer(on="cdn", times=2, **cut))
    assert_whole(fetch(NAME, hub=client(hub), policy=dataclasses.replace(QUICK, stall=1)), served)
    assert sent(hub) <= 1.02 * served.files()[WEIGHTS].size + MIB


REFUSALS = {
    "missing": ("org/none", None, NotFound, 1),
    "503": (NAME, Answer(on="hub", status=503, times=None), Unreachable, QUICK.attempts),
    "portal": (NAME, Answer(on="hub", portal=200, times=None), Unreachable, QUICK.attempts),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_refusals_mean_the_same_over_a_given_client(serve: Serve, client: Connect, given: Any, how: str) -> None:
    name, answer, kind, requests = REFUSALS[how]
    hub = serve(repo(MIB))
    if answer is not None:
        hub.answer(answer)
    with pytest.raises(kind):
        fetch(name, hub=client(hub), policy=QUICK)
    assert len(hub.seen) == requests


def test_nobody_answers_a_given_client(client: Connect, given: Any) -> None:
    with pytest.raises(Unreachable, match="refused"):
        fetch(NAME, hub=client(nobody()), policy=QUICK)
    with RawServer() as silent, pytest.raises(Unreachable):
        fetch(NAME, hub=client(silent.url), policy=dataclasses.replace(QUICK, connect=0.2, stall=0.2))


BIG = RemoteFile(WEIGHTS, 1 << 20, "a" * 64, "sha256")


def opened(hub: Any, stall: Any = 20.0) -> Any:
    return hub.open_file(NAME, "c" * 40, BIG, 0, location=None, connect=5.0, stall=stall)


def stalling(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\nsome")
    read_head(connection)


@pytest.mark.parametrize("whose", ["ours", "a pool", "a client"])
def test_a_body_is_ended_from_another_thread(client: Connect, request: pytest.FixtureRequest, whose: str) -> None:
    if whose == "a client":
        request.getfixturevalue("given")
    with RawServer(stalling) as server, urllib3.PoolManager() as pool:
        body = opened(client(server.url, pool=pool if whose == "a pool" else None))
        assert body.read() == b"some"
        ended = []

        def read() -> None:
            try:
                ended.append(body.read())
            except Transient as error:
                ended.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        body.cancel()
        reader.join(10)
        assert ended
        assert not ended[0] or isinstance(ended[0], Transient)
        body.close()
        body.cancel()


@pytest.mark.parametrize("whose", ["ours", "a pool", "a client"])
def test_a_silent_body_ends_after_its_stall(client: Connect, request: pytest.FixtureRequest, whose: str) -> None:
    if whose == "a client":
        request.getfixturevalue("given")
    with RawServer(stalling) as server, urllib3.PoolManager() as pool:
        body = opened(client(server.url, pool=pool if whose == "a pool" else None), stall=0.2)
        assert body.read() == b"some"
        with pytest.raises(Transient, match="fell silent"):
            body.read()
        body.close()


def test_a_pool_that_has_only_one_connection_gets_it_back(serve: Serve, client: Connect) -> None:
    """After answers of which nothing is read: an error, a page, a packed body."""
    served = repo(MIB)
    hub = serve(served)
    hub.answer(Answer(on="cdn", status=503))
    hub.answer(Answer(on="cdn", portal=200, skip=1))
    hub.answer(Answer(on="cdn", cut=MIB // 2, skip=2))
    policy = dataclasses.replace(QUICK, attempts=4, connections=1)
    with urllib3.PoolManager(maxsize=1, block=True) as pool:
        assert_whole(fetch(NAME, hub=client(hub, pool=pool), policy=policy), served)


@pytest.mark.parametrize("interim", ["103 Early Hints", "102 Processing", "100 Continue"])
def test_what_comes_before_an_answer_is_passed_over(serve: Serve, client: Connect, interim: str) -> None:
    served = repo(MIB)
    hub = serve(served)

    def talk(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {interim}\r\nLink: </style.css>\r\n\r\n".encode())
        forward_to(hub.url)(connection)

    with RawServer(talk) as front:
        assert_whole(fetch(NAME, hub=client(front.url), policy=ONCE), served)


def test_dripped_heads_leave_nothing_behind(client: Connect) -> None:
    before = set(threading.enumerate())
    with RawServer(drip) as server:
        for _ in range(3):
            with pytest.raises(DeadlineExceeded):
                fetch(NAME, hub=client(server.url), policy=dataclasses.replace(ONCE, connect=0.25, deadline=0.5))
        left = [one for one in threading.enumerate() if one not in before and one.name.startswith("phaita-")]
        for thread in left:
            thread.join(10)
        assert not [thread for thread in left if thread.is_alive()]


def test_a_hub_with_a_pool_says_that_it_stays_in_its_process(client: Connect) -> None:
    with urllib3.PoolManager() as pool, pytest.raises(TypeError):
        pickle.dumps(client("https://hub.test", pool=pool))


EMPTY = b'{"siblings": [], "sha": "%s"}' % (b"c" * 40)


def hangs_up_on_the_second() -> Any:
    """Connections that serve one request and reset on the next, as behind a restarted load balancer."""
    served = []

    def talk(connection: socket.socket) -> None:
        for number in range(2):
            if b"GET" not in read_head(connection):
                return
            if number:
                return
            served.append(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(EMPTY), EMPTY))

    return RawServer(talk), served


def test_an_idle_connection_that_died_costs_no_attempt(client: Connect) -> None:
    server, served = hangs_up_on_the_second()
    with server:
        hub = client(server.url)
        for _ in range(3):
            assert hub.listing(NAME, "main", timeout=5.0).commit == "c" * 40
        assert len(served) == 3


def test_a_server_that_always_hangs_up_is_asked_once(client: Connect) -> None:
    asked = []
    with RawServer(lambda connection: asked.append(read_head(connection))) as server, pytest.raises(Transient):
        client(server.url).listing(NAME, "main", timeout=5.0)
    assert len(asked) == 1
