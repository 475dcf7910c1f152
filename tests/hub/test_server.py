"""The Hub starts, stops and survives its clients."""

from __future__ import annotations

import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from tests.hub import Answer, Commit, LocalHub, Repo
from tests.hub.conftest import PUBLIC, WEIGHTS, Client

ROOT = Path(__file__).resolve().parents[2]


def _connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=20)


def _is_open(url: str) -> bool:
    try:
        _connect(url).close()
    except ConnectionRefusedError:
        return False
    return True


def test_both_origins_are_up_inside_and_gone_outside() -> None:
    before = set(threading.enumerate())
    with LocalHub() as hub:
        assert hub.url != hub.cdn_url == hub.public_cdn_url
        assert _is_open(hub.url)
        assert _is_open(hub.cdn_url)
    assert not _is_open(hub.url)
    assert not _is_open(hub.cdn_url)
    assert not set(threading.enumerate()) - before


def test_it_stops_when_its_user_fails() -> None:
    with pytest.raises(KeyError), LocalHub() as hub:
        raise KeyError
    assert not _is_open(hub.url)


def test_it_can_be_used_again_but_not_twice_at_once() -> None:
    local = LocalHub([PUBLIC])
    with local as first, pytest.raises(RuntimeError, match="running already"):
        first.__enter__()
    with local as second:
        assert _is_open(second.url)
        assert second.public_cdn_url == second.cdn_url


def test_clients_that_hang_do_not_keep_it(client: Client) -> None:
    with LocalHub([PUBLIC]) as hub:
        hub.answer(Answer(match="/api/", delay=600.0))
        hub.answer(Answer(on="cdn", pause=600.0))
        signed = urlsplit(client.signed(hub))
        idle, waiting, stalled = _connect(hub.url), _connect(hub.url), _connect(hub.cdn_url)
        waiting.sendall(b"GET /api/models/org/name HTTP/1.1\r\nHost: hub\r\n\r\n")
        stalled.sendall(f"GET {signed.path}?{signed.query} HTTP/1.1\r\nHost: cdn\r\n\r\n".encode())
        assert stalled.recv(12) == b"HTTP/1.1 200"
    for sock in (idle, waiting, stalled):
        sock.close()


def test_a_client_that_leaves_ends_the_reading(
    tmp_path: Path, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(256 << 20)
    with LocalHub([Repo("org/large", [Commit({"large.bin": large})])]) as hub:
        location = client.head(f"{hub.url}/org/large/resolve/main/large.bin").headers["Location"]
        answer = client.pool.request("GET", location, preload_content=False)
        assert answer.read(1000) == bytes(1000)
        answer.drain_conn = lambda: None  # type: ignore[method-assign]  # one response alone is changed
        answer.close()
        assert client.get(location, {"Range": "bytes=5-9"}).data == bytes(5)
    gc.collect()
    assert hub.seen[1].bytes_sent < 256 << 20
    assert capfd.readouterr().err == ""


def test_a_body_without_an_end_ends_with_its_client(client: Client) -> None:
    with LocalHub([PUBLIC]) as hub:
        signed = client.signed(hub)
        hub.answer(Answer(on="cdn", long=1 << 60, declared="nothing"))
        answer = client.pool.request("GET", signed, preload_content=False)
        assert answer.read(len(WEIGHTS) + 10) == WEIGHTS + bytes(10)
        answer.drain_conn = lambda: None  # type: ignore[method-assign]  # one response alone is changed
        answer.close()
    assert hub.seen[-1].bytes_sent < 1 << 40


def test_its_own_mistakes_are_told(tmp_path: Path, client: Client) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"{}")
    repo = Repo("org/broken", [Commit({"config.json": file})])
    file.unlink()
    with (
        pytest.raises(RuntimeError, match=r"the local Hub itself failed:[\s\S]*FileNotFoundError"),
        LocalHub([repo]) as hub,
        contextlib.suppress(urllib3.exceptions.ProtocolError),
    ):
        client.get(f"{hub.url}/api/resolve-cache/models/org/broken/{repo.shas[0]}/config.json")


def test_a_port_in_use_is_an_oserror() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        LocalHub(ports=(0, taken.getsockname()[1])).__enter__()


def test_two_repos_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="given twice"):
        LocalHub([PUBLIC, PUBLIC])


def test_small_answers_are_not_delayed(client: Client) -> None:
    with LocalHub([PUBLIC]) as hub:
        url = f"{hub.url}/api/resolve-cache/models/org/name/{PUBLIC.shas[1]}/config.json"
        client.get(url)
        # A delayed ACK would hold up every one of them by 40 ms.
        assert min(_seconds(client, url) for _ in range(21)) < 0.03


def _seconds(client: Client, url: str) -> float:
    begin = time.perf_counter()
    client.get(url)
    return time.perf_counter() - begin


def test_importing_it_brings_no_torch_and_no_client() -> None:
    code = (
        "import sys, tests.hub, tests.hub.replicas\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'tokenizers', 'sentencepiece'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=120)
