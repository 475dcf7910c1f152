"""Ctrl-C while nothing arrives: whatever is waited for, the call ends and says how to go on."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.hub import Answer
from tests.wires.support import INTERRUPTIBLE, MIB, WEIGHTS, Serve, bodies, fetching, fresh_process, repo, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child on Windows")

SITUATIONS = ["backoff", "silence", "lock"]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_ctrl_c_ends_every_wait_and_says_how_to_go_on(serve: Serve, cache: Path, situation: Any) -> None:
    served = repo(MIB)
    hub = serve(served)
    answers = {"backoff": Answer(on="cdn", status=503, times=None), "silence": Answer(on="cdn", delay=60, times=None)}
    if situation in answers:
        hub.answer(answers[situation])
    lock = cache / ".locks" / "models--org--name" / f"{served.files()[WEIGHTS].digest}.lock"
    lock.parent.mkdir(parents=True)
    code = INTERRUPTIBLE + fetching(hub.url, cache).replace("first=0.05", "first=60").replace(
        "timeout=30", "timeout=300"
    )
    with FileLock(lock) if situation == "lock" else contextlib.nullcontext(), fresh_process(code) as process:
        wait_until(lambda: "resolve-cache" in str(hub.seen) if situation == "lock" else bodies(hub))
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        told = process.communicate(timeout=20)[1]
        took = time.monotonic() - begin
    assert took < 2
    assert told.rstrip().endswith("the same call goes on from there")
