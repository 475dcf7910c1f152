"""The real server: counted bytes, lifted faults, death, and nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.faults import case
from tests.faults.build import ROOT, ToxiproxyError, binary
from tests.faults.cases import Case
from tests.faults.control import Proxies
from tests.faults.scenario import Scenario
from tests.faults.schema import Expect, Toxic
from tests.faults.server import HOST, Server, ToxiproxyDied
from tests.hub import Commit, LocalHub, Repo

pytestmark = pytest.mark.faults

BODY = bytes(3_000_000)
SILENCE = Toxic("timeout", attributes={"timeout": 0})
REPO = Repo("org/name", [Commit({"config.json": b"{}", "model.safetensors": BODY})])


@pytest.fixture
def own_server(running: Server, tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    path = tmp_path / "toxiproxy-server"
    path.write_text(f'#!/bin/sh\necho $$ > "$0.pid"\nexec "{binary()}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    with Server(path) as server:
        yield server


def server_pid(server: Server) -> int:
    assert server.path is not None
    return int(Path(f"{server.path}.pid").read_text(encoding="utf-8"))


def get(url: str) -> bytes:
    """The whole body; a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{url}/org/name/resolve/main/model.safetensors", timeout=5.0).content


def test_bytes_are_counted_and_a_cut_is_a_cut(toxiproxy: Server) -> None:
    cut = Toxic("limit_data", attributes={"bytes": 1_000_000})
    with LocalHub([REPO]) as hub, Proxies(toxiproxy, {"hub": hub.url, "cdn": hub.cdn_url}) as proxies:
        hub.public_cdn_url = proxies.urls["cdn"]
        proxies.disturb(("cdn",), (cut,))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            get(proxies.urls["hub"])
        before = proxies.settled()
        proxies.clear(("cdn",))
        assert get(proxies.urls["hub"]) == BODY
        after = proxies.settled()
    assert 1_000_000 <= before < 1_010_000
    assert 3_000_000 <= after - before < 3_010_000


def test_reset_after_so_many_bytes(toxiproxy: Server) -> None:
    toxics = (Toxic("limit_data", attributes={"bytes": 1_000_000}), Toxic("reset_peer", toxicity=0.0))
    with LocalHub([REPO]) as hub, Proxies(toxiproxy, {"hub": hub.url, "cdn": hub.cdn_url}) as proxies:
        hub.public_cdn_url = proxies.urls["cdn"]
        proxies.disturb(("cdn",), toxics)
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="reset by peer"):
            get(proxies.urls["hub"])


def test_refused_until_accepted(toxiproxy: Server) -> None:
    with LocalHub([REPO]) as hub, Proxies(toxiproxy, {"cdn": hub.cdn_url, "hub": hub.url}) as proxies:
        proxies.refuse(("hub",))
        with pytest.raises(requests.ConnectionError, match="refused"):
            get(proxies.urls["hub"])
        proxies.accept(("hub",))
        assert get(proxies.urls["hub"]) == BODY


def test_a_toxic_that_there_is_not(toxiproxy: Server) -> None:
    with (
        LocalHub([REPO]) as hub,
        Proxies(toxiproxy, {"hub": hub.url}) as proxies,
        pytest.raises(ToxiproxyError, match="refused to add gremlin"),
    ):
        proxies.disturb(("hub",), (Toxic("gremlin"),))


def test_a_port_that_somebody_took_is_left_to_them(own_server: Server) -> None:
    with socket.create_server((HOST, 0)) as taken, socket.create_server((HOST, 0)) as probe:
        free = int(probe.getsockname()[1])
        probe.close()
        ports = iter([int(taken.getsockname()[1]), own_server.port, free])
        with Server(pick_port=lambda: next(ports)) as server:
            assert server.port == free


def test_death_in_mid_run_is_an_error_and_no_hang(own_server: Server, tmp_path: Path) -> None:
    scenario = Scenario("silent", "t", Expect("loaded"), repo="org/name", toxics=(SILENCE,), cap=60.0)
    killer = threading.Timer(3.0, os.kill, [server_pid(own_server), signal.SIGKILL])
    killer.start()
    begin = time.monotonic()
    with pytest.raises(ToxiproxyDied, match="Toxiproxy is gone"):
        case.run(Case(scenario, "huggingface_hub", "quick"), REPO, own_server, tmp_path)
    assert time.monotonic() - begin < 30.0
    with pytest.raises(ToxiproxyDied, match="Toxiproxy is gone"):
        own_server.check()


def test_a_server_that_died_is_started_again(own_server: Server) -> None:
    own_server.kill("a test")
    own_server.revive()
    own_server.check()
    with LocalHub([REPO]) as hub, Proxies(own_server, {"hub": hub.url, "cdn": hub.cdn_url}) as proxies:
        hub.public_cdn_url = proxies.urls["cdn"]
        assert get(proxies.urls["hub"]) == BODY


def test_the_port_of_a_proxy_that_refuses_stays_its_own(toxiproxy: Server) -> None:
    with LocalHub([REPO]) as hub, Proxies(toxiproxy, {"hub": hub.url}) as proxies:
        proxies.refuse(("hub",))
        port = int(proxies.urls["hub"].rpartition(":")[2])
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        proxies.accept(("hub",))


def create_often(server: Server) -> None:
    """More often than once: a signal takes a moment to reach every thread."""
    for _ in range(1000):
        Proxies(server, {"hub": "http://127.0.0.1:9"}, patience=0.5).__enter__()


def test_a_control_call_without_an_answer_ends(own_server: Server) -> None:
    os.kill(server_pid(own_server), signal.SIGSTOP)
    with pytest.raises(ToxiproxyDied, match=r"no answer within 0\.5 s to: create a proxy for hub"):
        create_often(own_server)


def test_a_parent_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    text = (
        "import os, signal\n"
        "from tests.faults.server import Server\n"
        "with Server() as server:\n"
        "    print(server.port, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    until = time.monotonic() + 10.0
    while listening(int(run.stdout)):
        assert time.monotonic() < until
        time.sleep(0.05)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
