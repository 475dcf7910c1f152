"""Several processes and their deaths: kills, Ctrl-C, and two that want the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from phaita_loader import fetch
from tests.hub import Answer
from tests.wires.support import (
    INTERRUPTIBLE,
    MIB,
    NAME,
    QUICK,
    WEIGHTS,
    Connect,
    Serve,
    assert_whole,
    bodies,
    fetching,
    fresh_process,
    repo,
    sent,
    wait_until,
)

SIZE = 12 * MIB
PAUSE = 9 * MIB

UNMODIFIED = """
from huggingface_hub import snapshot_download
print(snapshot_download({name!r}, endpoint={url!r}, cache_dir={cache!r}, token=False))
"""


def downloading(hub_url: Any, cache: Path) -> Any:
    return UNMODIFIED.format(name=NAME, url=hub_url, cache=str(cache))


def arrived(cache: Path) -> Any:
    """Bytes in the largest partial file."""
    sizes = [0]
    for data in cache.glob("models--*/.phaita-loader/*/data"):
        with contextlib.suppress(FileNotFoundError):  # done meanwhile, and moved
            sizes.append(data.stat().st_size)
    return max(sizes)


def recorded(cache: Path) -> Any:
    """Bytes that the partial's record claims."""
    for record in cache.glob("models--*/.phaita-loader/*/record.jsonl"):
        lines = [line for line in record.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return sum(end - start for start, end in json.loads(lines[-1])["written"]) if lines else 0
    return 0


def test_a_killed_download_goes_on_where_its_record_ends(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", pause=60, after=PAUSE))
    with fresh_process(fetching(hub.url, cache)) as process:
        wait_until(lambda: recorded(cache) >= 4 * MIB)
        process.kill()
        process.wait()
    kept = recorded(cache)
    hub.clear()
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert [seen.range for seen in bodies(hub)] == [f"bytes={kept}-"]
    assert sent(hub) == served.files()[WEIGHTS].size - kept
    assert not list(cache.glob("models--*/.phaita-loader/*/data")), "the partial became the blob"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child on Windows")
def test_ctrl_c_ends_at_once_and_keeps_every_byte(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(SIZE)
    hub = serve(served)
    hub.answer(Answer(on="cdn", pause=60, after=PAUSE))
    with fresh_process(INTERRUPTIBLE + fetching(hub.url, cache)) as process:
        wait_until(lambda: arrived(cache) == PAUSE)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        told = process.communicate(timeout=20)[1]
        assert time.monotonic() - begin < 3  # one of them the interpreter's own
    assert "KeyboardInterrupt" in told
    assert "the same call goes on from there" in told
    assert recorded(cache) == PAUSE
    hub.clear()
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert sent(hub) == served.files()[WEIGHTS].size - PAUSE


def both(serve: Serve, cache: Path, first: Any, second: Any) -> Any:
    """Start the second process while the first is in the middle of the large file; what the Hub then saw."""
    served = repo(2 * MIB)
    hub = serve(served)
    hub.answer(Answer(on="cdn", pause=5, after=MIB))
    with fresh_process(first(hub.url, cache)) as one:
        wait_until(lambda: bodies(hub))
        with fresh_process(second(hub.url, cache)) as two:
            wait_until(lambda: sum(seen.path.startswith("/api/models/") for seen in hub.seen) >= 2)
            assert one.poll() is None, "the first was done before the second came: this shows nothing"
            for process in (one, two):
                told = process.communicate(timeout=60)
                assert process.returncode == 0, told
    return served, hub


@pytest.mark.parametrize(
    ("first", "second"),
    [(fetching, fetching), (fetching, downloading), (downloading, fetching)],
    ids=["ours twice", "theirs waits for ours", "ours waits for theirs"],
)
def test_two_processes_cause_one_download(serve: Serve, client: Connect, cache: Path, first: Any, second: Any) -> None:
    served, hub = both(serve, cache, first, second)
    assert len(bodies(hub)) == 1
    hub.clear()
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert not bodies(hub)
    for blob in served.files().values():
        cached = next(cache.glob(f"models--*/blobs/{blob.digest}"), None)
        assert cached is None or cached.stat().st_size == blob.size


def test_many_processes_on_an_empty_cache_all_get_it(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(2 * MIB)
    hub = serve(served)
    code = fetching(hub.url, cache)
    with ExitStack() as stack:
        processes = [stack.enter_context(fresh_process(code)) for _ in range(3)]
        assert {process.communicate(timeout=60)[0].strip() for process in processes} == {served.shas[-1]}
    assert len(bodies(hub)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_after_a_fetch_makes_its_own_connections(
    serve: Serve, client: Connect, cache: Path, tmp_path: Path
) -> None:
    """The child must not speak over the sockets that the parent keeps."""
    hub = serve(repo(MIB), repo(MIB, "org/next", seed=1))
    code = fetching(hub.url, cache) + (
        "import os\n"
        "child = os.fork()\n"
        "path = fetch('org/next', hub=hub, policy=policy).path\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
        "os._exit(0)\n"
    )
    with fresh_process(code) as process:
        told = process.communicate(timeout=60)
        assert process.returncode == 0, told
