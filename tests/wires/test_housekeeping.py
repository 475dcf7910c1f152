"""Every cache that the loader leaves is valid to huggingface_hub's own tools, and they can remove all of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download

from phaita_loader import ModelRequest, Unreachable, fetch
from tests.hub import Answer, Commit, LocalHub, Repo
from tests.wires.support import (
    MIB,
    NAME,
    QUICK,
    WEIGHTS,
    Connect,
    Serve,
    assert_whole,
    fetching,
    fresh_process,
    sent,
    small_files,
    wait_until,
    weights,
)

ONCE = dataclasses.replace(QUICK, attempts=1)


def served() -> Repo:
    """Two commits, of which `main` is the second; the large file differs."""
    old, new = ({**small_files(tag), WEIGHTS: weights(3 * MIB, seed)} for tag, seed in (("old", 1), ("new", 2)))
    return Repo(NAME, [Commit(old), Commit(new)], tags={"v1": 0})


def fresh(hub: Any, ours: Any, cache: Path) -> None:
    fetch(NAME, hub=ours, policy=QUICK)


def broken_off(hub: Any, ours: Any, cache: Path) -> None:
    hub.answer(Answer(on="cdn", match=WEIGHTS, cut=MIB))
    hub.answer(Answer(on="cdn", match=WEIGHTS, status=503, times=None, skip=1))
    with pytest.raises(Unreachable):
        fetch(NAME, hub=ours, policy=ONCE)
    hub.clear()
    assert list(cache.glob("models--*/.phaita-loader/*/data")), "there is a partial"


def resumed(hub: Any, ours: Any, cache: Path) -> None:
    broken_off(hub, ours, cache)
    fetch(NAME, hub=ours, policy=QUICK)


def killed(hub: Any, ours: Any, cache: Path) -> None:
    hub.answer(Answer(on="cdn", match=WEIGHTS, pause=60, after=2 * MIB))
    with fresh_process(fetching(hub.url, cache)) as process:
        wait_until(lambda: sent(hub) >= 2 * MIB and list(cache.glob("models--*/.phaita-loader/*/data")))
        process.kill()
        process.wait()
    hub.clear()


def killed_and_called_again(hub: Any, ours: Any, cache: Path) -> None:
    killed(hub, ours, cache)
    fetch(NAME, hub=ours, policy=QUICK)


def of_two_revisions(hub: Any, ours: Any, cache: Path) -> None:
    fetch(ModelRequest(NAME, "v1"), hub=ours, policy=QUICK)
    fetch(NAME, hub=ours, policy=QUICK)


def behind_a_branch_that_moved(hub: Any, ours: Any, cache: Path) -> None:
    hub.move(NAME, "main", hub.repos[NAME].shas[0])
    fetch(NAME, hub=ours, policy=QUICK)
    hub.move(NAME, "main", hub.repos[NAME].shas[1])
    fetch(NAME, hub=ours, policy=QUICK)


WHOLE = [fresh, resumed, killed_and_called_again, of_two_revisions, behind_a_branch_that_moved]
PARTIAL = [broken_off, killed]
KEPT = {of_two_revisions: 2}  # snapshots that a ref names
by_name = pytest.mark.parametrize("left", [*WHOLE, *PARTIAL], ids=lambda left: left.__name__)


def hf(hub: LocalHub, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", "cache", *words, "--cache-dir", str(cache)]
    environ = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def made(serve: Serve, client: Connect, cache: Path) -> Any:
    """`made(left)` leaves such a cache: (the Hub, the loader's view of it)."""

    def make(left: Any) -> Any:
        hub = serve(served())
        ours = client(hub)
        left(hub, ours, cache)
        return hub, ours

    return make


@by_name
def test_a_scan_finds_the_repo_and_nothing_to_warn_of(made: Any, cache: Path, left: Any) -> None:
    made(left)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scanned = scan_cache_dir(cache)
    assert not scanned.warnings
    (found,) = scanned.repos
    assert found.repo_id == NAME
    assert set(found.refs) == ({"main"} if left in WHOLE else set()) | ({"v1"} if left is of_two_revisions else set())


@by_name
def test_hf_cache_verify_accepts_every_revision(made: Any, cache: Path, left: Any) -> None:
    hub, _ = made(left)
    for commit in sorted(path.name for path in cache.glob("models--*/snapshots/*")):
        done = hf(hub, cache, "verify", NAME, "--revision", commit, "--fail-on-extra-files")
        assert done.returncode == 0, done.stdout + done.stderr


@by_name
def test_hf_cache_rm_leaves_nothing(made: Any, cache: Path, left: Any) -> None:
    hub, _ = made(left)
    done = hf(hub, cache, "rm", f"model/{NAME}", "--yes")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in cache.iterdir()} <= {".locks", "CACHEDIR.TAG"}


@by_name
def test_hf_cache_prune_takes_what_no_ref_names_and_keeps_the_rest(made: Any, cache: Path, left: Any) -> None:
    hub, ours = made(left)
    done = hf(hub, cache, "prune", "--yes")
    assert done.returncode == 0, done.stderr
    if left in PARTIAL:
        assert not list(cache.glob("models--*")), "neither the snapshot's folder nor the partial"
        return
    assert len(list(cache.glob("models--*/snapshots/*"))) == KEPT.get(left, 1)
    hub.clear()
    assert_whole(fetch(NAME, hub=ours.as_offline()), hub.repos[NAME])
    assert not hub.seen


@pytest.mark.parametrize("left", WHOLE, ids=lambda left: left.__name__)
def test_an_unmodified_client_finds_it_offline(made: Any, cache: Path, left: Any) -> None:
    hub, _ = made(left)
    path = Path(snapshot_download(NAME, cache_dir=cache, local_files_only=True, allow_patterns=["*.json", WEIGHTS]))
    assert path.name == hub.repos[NAME].shas[-1]
    for name, blob in hub.repos[NAME].files().items():
        assert name == "README.md" or (path / name).read_bytes() == blob.read(), name
