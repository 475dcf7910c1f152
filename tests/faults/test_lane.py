"""The proxy lane: the forward proxy is honest, and toxics act on the traffic of both origins."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

from tests.faults import lane
from tests.faults.scenario import Scenario, read_all
from tests.faults.schema import Expect, Toxic
from tests.faults.server import Server
from tests.hub import NAMES, Answer, Commit, LocalHub, Repo
from tests.support.forward_proxy import ForwardProxy

BODY = bytes(3_000_000)
REPO = Repo("org/name", [Commit({"config.json": b"{}", "model.safetensors": BODY})])
ENDPOINT, CDN = (f"https://{name}" for name in NAMES.values())


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub([REPO], tls=True) as hub:
        hub.public_cdn_url = CDN
        yield hub


@contextmanager
def client(proxy_url: str, hub: LocalHub) -> Iterator[urllib3.ProxyManager]:
    """A client that trusts the Hub and knows it by name only."""
    retries = urllib3.Retry(connect=False, read=False, other=False, redirect=3)
    with urllib3.ProxyManager(proxy_url, ca_certs=str(hub.ca_file), retries=retries, timeout=20) as manager:
        yield manager


def test_the_forward_proxy_finds_both_origins_and_counts_them(hub: LocalHub) -> None:
    with ForwardProxy(hub.addresses) as forward, client(forward.url, hub) as pool:
        assert pool.request("GET", f"{ENDPOINT}/org/name/resolve/main/model.safetensors").data == BODY
        assert pool.request("GET", f"{ENDPOINT}/api/models/org/name").json()["id"] == "org/name"
        assert forward.tunnels == {NAMES["hub"]: 1, NAMES["cdn"]: 1}
        assert len(BODY) < forward.received[NAMES["cdn"]] < len(BODY) * 1.01
        assert 0 < forward.received[NAMES["hub"]] < 20_000


@pytest.mark.parametrize(
    ("answer", "message"), [({"cut": 1000}, "IncompleteRead"), ({"reset": 1000}, "Connection broken")]
)
def test_the_forward_proxy_passes_ends_on(hub: LocalHub, answer: Any, message: str) -> None:
    with ForwardProxy(hub.addresses) as forward, client(forward.url, hub) as pool:
        hub.answer(Answer(on="cdn", **answer))
        with pytest.raises(urllib3.exceptions.ProtocolError, match=message):
            pool.request("GET", f"{ENDPOINT}/org/name/resolve/main/model.safetensors")
        assert pool.request("GET", f"{ENDPOINT}/org/name/resolve/main/model.safetensors").data == BODY


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("CONNECT huggingface.co:443", b"403"),
        ("CONNECT dead.test:443", b"502"),
        ("CONNECT hub.local.test", b"405"),
        ("GET http://hub.local.test/", b"405"),
        ("nonsense", b"405"),
    ],
)
def test_the_forward_proxy_refuses(request_line: str, status: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = gone.getsockname()
    with ForwardProxy({"dead.test": dead}) as forward, _connect(forward) as sock:
        sock.sendall(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = sock.makefile("rb").read()
        assert answer.split()[1] == status
        assert not forward.tunnels


def test_a_live_forward_proxy_asks_the_dns() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as origin,
        ForwardProxy({}, live=True) as forward,
        _connect(forward) as sock,
    ):
        sock.sendall(f"CONNECT localhost:{origin.getsockname()[1]} HTTP/1.1\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        origin.accept()[0].close()


def test_the_forward_proxy_stops_under_its_clients() -> None:
    with socket.create_server(("127.0.0.1", 0)) as origin, ForwardProxy({"a.test": origin.getsockname()}) as forward:
        idle, open_tunnel = _connect(forward), _connect(forward)
        open_tunnel.sendall(b"CONNECT a.test:443 HTTP/1.1\r\n\r\n")
        assert open_tunnel.recv(100).startswith(b"HTTP/1.1 200")
    for sock in (idle, open_tunnel):
        with sock, pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_what_is_not_there_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(lane.LiveHubUnreachable, match="--live needs the network, and localhost can't be reached"):
        lane.reach("localhost", port)


@pytest.mark.parametrize(
    ("words", "on_proxy", "on_live"),
    [
        ({}, True, True),
        ({"on": "cdn", "toxics": (Toxic("limit_data", attributes={"bytes": 65_536}),)}, True, True),
        ({"on": "cdn", "toxics": (Toxic("limit_data", attributes={"bytes": 100}),)}, False, False),
        ({"on": "cdn", "toxics": (Toxic("reset_peer", toxicity=0.0),)}, True, True),
        ({"on": "cdn", "toxics": (Toxic("reset_peer"),)}, False, False),
        ({"on": "hub", "toxics": (Toxic("timeout"),)}, True, True),
        ({"on": "cdn", "toxics": (Toxic("timeout"),)}, False, False),
        ({"on": "cdn", "down": True}, False, False),
        ({"prepare": "gated"}, True, False),
        ({"answers": (Answer(cut=1),)}, True, False),
        ({"size": "medium"}, True, False),
        ({"processes": 2}, True, False),
    ],
)
def test_which_scenarios_a_lane_plays(words: dict[str, object], on_proxy: bool, on_live: bool) -> None:
    scenario = Scenario("one", "t", Expect("loaded"), **words)  # type: ignore[arg-type]  # the words are of several types
    assert [lane.applies(scenario, name) for name in ("quick", "proxy", "live")] == [True, on_proxy, on_live]


def test_a_scenario_says_which_lane_it_is_on() -> None:
    names = [one.name for one in lane.scenarios(read_all(), "proxy", telling=True)]
    assert sorted(names) == sorted(f"proxy_{name}" for name in lane.TELLING)
    assert lane.scenarios(read_all(), "quick") == read_all()
    live = lane.on(read_all()[0], "live")
    assert (live.name, live.repo) == ("live_clean", lane.LIVE_REPO)


@pytest.mark.parametrize(("each", "quick", "proxy"), [(2_000_000, 1.02, 1.031), (65_536, 1.05, 1.527), (0, 1.02, 1.02)])
def test_a_drop_costs_more_over_tls(each: int, quick: float, proxy: float) -> None:
    toxics = (Toxic("limit_data", attributes={"bytes": each}),)
    scenario = Scenario("one", "t", Expect("loaded", transfer_ratio_max=quick), toxics=toxics)
    assert lane.on(scenario, "proxy").expect.transfer_ratio_max == proxy


@pytest.mark.faults
def test_toxics_act_on_the_traffic_of_both_origins(toxiproxy: Server) -> None:
    cut = Toxic("limit_data", attributes={"bytes": 1_000_000})
    with lane.proxy(lambda **options: LocalHub([REPO], **options), toxiproxy) as topology:
        assert isinstance(topology.hub, LocalHub)
        topology.hub.public_cdn_url = topology.cdn_url
        topology.proxies.disturb(("cdn",), (cut,))
        with (
            client(topology.environment["HTTPS_PROXY"], topology.hub) as pool,
            pytest.raises(urllib3.exceptions.ProtocolError),
        ):
            pool.request("GET", f"{topology.endpoint}/org/name/resolve/main/model.safetensors")
        before = topology.proxies.settled()
        topology.proxies.refuse(("hub",))
        with (
            client(topology.environment["HTTPS_PROXY"], topology.hub) as pool,
            pytest.raises(urllib3.exceptions.ProxyError),
        ):
            pool.request("GET", f"{topology.endpoint}/api/models/org/name")
        topology.proxies.accept(("hub",))
        topology.proxies.clear(("cdn",))
        with client(topology.environment["HTTPS_PROXY"], topology.hub) as pool:
            assert pool.request("GET", f"{topology.endpoint}/org/name/resolve/main/model.safetensors").data == BODY
        after = topology.proxies.settled()
    assert 1_000_000 <= before < 1_020_000
    assert 3_000_000 <= after - before < 3_060_000


def _connect(forward: ForwardProxy) -> socket.socket:
    host, _, port = forward.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)
