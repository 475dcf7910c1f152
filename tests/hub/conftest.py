"""One Hub for each test module, cleared for each test; and a client that hides nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import urllib3

from tests.hub import Commit, LocalHub, Repo

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
def running() -> Iterator[LocalHub]:
    with LocalHub([PUBLIC, GATED, PRIVATE, CANONICAL], tokens=TOKENS) as hub:
        yield hub


@pytest.fixture
def hub(running: LocalHub) -> Iterator[LocalHub]:
    running.clear()
    yield running
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
def client() -> Iterator[Client]:
    with urllib3.PoolManager() as pool:
        yield Client(pool)
