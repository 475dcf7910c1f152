"""Without flock, files are the locks, and locks of dead processes are taken over."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from phaita_loader import fetch
from tests.wires.support import (
    MIB,
    NAME,
    QUICK,
    WEIGHTS,
    Connect,
    Serve,
    assert_whole,
    bodies,
    fresh_process,
    repo,
    wait_until,
)

fcntl = pytest.importorskip("fcntl")

HOLDER = """
import time
from filelock import SoftFileLease
lock = SoftFileLease({path!r}, lease_duration=60.0)
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system without flock: files that exist are the locks."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_flock_a_soft_lock_is_taken_and_given_back(
    serve: Serve, client: Connect, cache: Path, no_flock: Any
) -> None:
    served = repo(MIB)
    hub = serve(served)
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert not list((cache / ".locks").rglob("*.soft"))


def test_a_soft_lock_is_waited_for_until_its_holder_dies(
    serve: Serve, client: Connect, cache: Path, no_flock: Any
) -> None:
    served = repo(MIB)
    hub = serve(served)
    soft = cache / ".locks" / "models--org--name" / f"{served.files()[WEIGHTS].digest}.lock.soft"
    soft.parent.mkdir(parents=True)
    with fresh_process(HOLDER.format(path=str(soft))) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = []
        thread = threading.Thread(target=lambda: done.append(fetch(NAME, hub=client(hub), policy=QUICK)))
        thread.start()
        wait_until(lambda: sum("resolve-cache" in seen.path for seen in hub.seen) == 2)  # all but the large file
        time.sleep(0.5)
        assert not done
        assert not bodies(hub)
        holder.kill()
        holder.wait()
        thread.join(20)
    assert_whole(done[0], served)
