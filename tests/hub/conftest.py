"""One Hub for each test module, cleared for each test; and a client that hides nothing."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import urllib3
from huggingface_hub import close_session

from tests.hub import NAMES, Commit, LocalHub, Repo

PLAIN_AND_TLS = pytest.mark.parametrize("running", ["plain", "tls"], indirect=True, scope="module")
WEIGHTS = random.Random(1).randbytes(3_000_001)
FIRST = Commit({"config.json": b'{"a": 0}', "weights.bin": b"old"}, "first", "2024-01-01T00:00:00.000Z")
SECOND = Commit(
    {
        "README.md": b"# A repo\n",
        "config.json": b'{"a": 1}',
        "empty.txt": b"",
        "folder/nested/deep name+1.txt": b"deep",
        "model.safetensors": WEIGHTS,
    },
    "second",
    "2024-02-02T00:00:00.000Z",
)
PUBLIC = Repo("org/name", [FIRST, SECOND], tags={"v1": 0}, info={"pipeline_tag": "fill-mask"})
GATED = Repo("org/gated", [SECOND], gated=True)
PRIVATE = Repo("org/private", [SECOND], private=True)
CANONICAL = Repo("gpt2", [FIRST, SECOND])
TOKENS = {"hf_good": {"org/gated", "org/private"}, "hf_poor": set[str]()}


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[LocalHub]:
    with LocalHub(
        [PUBLIC, GATED, PRIVATE, CANONICAL], tokens=TOKENS, tls=getattr(request, "param", "") == "tls"
    ) as hub:
        yield hub


@pytest.fixture
def hub(running: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    running.clear()
    if running.url.startswith("https:"):
        monkeypatch.setenv("SSL_CERT_FILE", str(running.ca_file))
        close_session()  # the client reads the variable once
    yield running
    close_session()
    running.public_cdn_url = running.cdn_url


@dataclass
class Client:
    """Plain requests: no retry, no redirect, no decoding."""

    pool: urllib3.PoolManager

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", url, headers=headers, redirect=False, retries=False, timeout=20)

    def head(self, url: str, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        return self.pool.request("HEAD", url, headers=headers, redirect=False, retries=False, timeout=20)

    def signed(self, hub: LocalHub, path: str = "model.safetensors") -> str:
        """A signed URL of a large file in org/name."""
        return self.head(f"{hub.url}/org/name/resolve/main/{path}").headers["Location"]


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    hub = request.getfixturevalue("hub") if "hub" in request.fixturenames else None
    ca_certs = str(hub.ca_file) if hub and hub.url.startswith("https:") else None
    with urllib3.PoolManager(ca_certs=ca_certs) as pool:
        yield Client(pool)


def connect(address: tuple[str, int]) -> socket.socket:
    """A bare connection."""
    return socket.create_connection(address, timeout=20)


def connect_to(hub: LocalHub, origin: str = "hub") -> socket.socket:
    """A bare connection to an origin, encrypted if the Hub is."""
    sock = connect(hub.addresses[NAMES[origin]])
    if hub.url.startswith("http:"):
        return sock
    return ssl.create_default_context(cafile=hub.ca_file).wrap_socket(sock, server_hostname=NAMES[origin])
