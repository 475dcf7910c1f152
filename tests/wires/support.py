"""Repos, a policy, looks at the Hub's log, and fresh processes, for the tests of this folder."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from phaita_loader import Backoff, Hub, Policy, Snapshot
from tests.hub import Commit, LocalHub, Repo, Seen
from tests.support.environment import same_environment
from tests.support.files import safetensors

Serve = Callable[..., LocalHub]
"""The fixtures `serve` (repos) and `serve_replicas` (their names)."""
Connect = Callable[..., Hub]
"""The fixture `client`."""

NAME = "org/name"
WEIGHTS = "model.safetensors"
QUICK = Policy(attempts=2, timeout=60, stall=5, connect=5, backoff=Backoff(first=0.05))
MIB = 1 << 20


def weights(size: int, seed: int = 0) -> bytes:
    """Return a valid file of one tensor of that many random bytes."""
    return safetensors(random.Random(seed).randbytes(size))


def small_files(tag: str = "a") -> dict[str, bytes | Path]:
    """Return the files beside the weights; a loader does not ask for the README."""
    config = json.dumps({"model_type": "bert", "tag": tag}).encode()
    return {"config.json": config, "tokenizer.json": b'{"version": "1.0"}', "README.md": b"# hello"}


def repo(size: int = 2 * MIB, name: str = NAME, seed: int = 0, **options: object) -> Repo:
    """Small files and one large one, in one commit."""
    return Repo(name, [Commit({**small_files(), WEIGHTS: weights(size, seed)})], **options)  # type: ignore[arg-type]  # options of several types


def assert_whole(snapshot: Snapshot, served: Repo) -> None:
    """Byte for byte what the repo holds at that commit."""
    blobs = served.files(snapshot.commit)
    for file in snapshot.files:
        with blobs[file.path].open() as source:
            assert (snapshot.path / file.path).read_bytes() == source.read(), file.path


def bodies(hub: LocalHub, path: str = WEIGHTS) -> list[Seen]:
    """The requests on the CDN for one large file."""
    return [seen for seen in hub.seen if seen.origin == "cdn" and path in seen.query]


def sent(hub: LocalHub, path: str = WEIGHTS) -> int:
    """Bytes of one large file that left the CDN."""
    return sum(seen.bytes_sent for seen in bodies(hub, path))


def wait_until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Poll for a condition that another process or thread brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def fresh_process(code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs this code; killed at the end if it still runs."""
    environ = same_environment(**environment)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


INTERRUPTIBLE = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""Code that restores Ctrl-C: tests that a shell starts with & inherit an ignored SIGINT."""


def fetching(hub_url: str, cache: Path) -> str:
    """Code that fetches the usual repo and prints the commit."""
    return (
        "from phaita_loader import Backoff, Hub, Policy, fetch\n"
        "policy = Policy(attempts=2, timeout=30, stall=20, connect=5, backoff=Backoff(first=0.05))\n"
        f"hub = Hub({hub_url!r}, token=False, cache_dir={str(cache)!r})\n"
        f"print(fetch({NAME!r}, hub=hub, policy=policy).commit)\n"
    )
