"""A cache and a partial file that an earlier version left are taken up.

`stored/cache_of_record_format_2.tar.xz` was written by the version before the private packages: `org/whole` is
complete, of `org/half` 6 of 10 MiB of the weights arrived before the server denied the rest.
"""

from __future__ import annotations

import os
import sys
import tarfile
from functools import partial
from pathlib import Path

import pytest

from phaita_loader._cache.inventory import Inventory
from phaita_loader._cache.repo import RepoCache
from phaita_loader._resolve import choose_files
from phaita_loader.fetch import fetch, plan
from phaita_loader.progress import Event, Resumed
from phaita_loader.request import ModelRequest
from tests.unit.fakes import COMMIT, FakeHub, noise, safetensors

STORED = Path(__file__).parent / "stored" / "cache_of_record_format_2.tar.xz"
WEIGHTS = {"org/whole": safetensors(noise(1 << 16) * 20), "org/half": safetensors(noise(1 << 16) * 160)}
ARRIVED = 6 << 20

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stored snapshots are symlinks")


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    with tarfile.open(STORED) as tar:
        tar.extractall(hub.cache_dir, filter="data")
    for stamp in hub.cache_dir.glob("*/.phaita-loader/stamps/*"):  # a tar keeps no nanoseconds
        _, mtime_ns = stamp.read_text().split()
        os.utime(stamp.parents[2] / "blobs" / stamp.name, ns=(0, int(mtime_ns)))
    return hub


def serve(hub: FakeHub, repo_id: str) -> None:
    hub.repo = {"config.json": b"{}", "model.safetensors": WEIGHTS[repo_id]}


def test_a_complete_snapshot_needs_no_request(hub: FakeHub) -> None:
    snapshot = fetch(ModelRequest("org/whole", COMMIT), hub=hub)
    assert (snapshot.path / "model.safetensors").read_bytes() == WEIGHTS["org/whole"]
    assert (hub.asked, hub.opened) == ([], [])


def test_its_stamp_is_believed(hub: FakeHub) -> None:
    digested: list[None] = []
    cache = RepoCache(hub.cache_dir, "org/whole", lambda: digested.append(None))
    serve(hub, "org/whole")
    inventory = Inventory(cache, "auto", partial(choose_files, ModelRequest("org/whole"), hub))
    assert inventory.inspect(COMMIT).missing == ()
    assert len(digested) == 1, "the weights have a stamp; config.json, which is small, is digested"


def test_its_branch_is_known_offline(hub: FakeHub) -> None:
    assert fetch("org/whole", hub=hub.as_offline()).commit == COMMIT


def test_a_partial_file_is_resumed(hub: FakeHub) -> None:
    serve(hub, "org/half")
    planned, events = plan("org/half", hub=hub), list[Event]()
    snapshot = fetch("org/half", hub=hub, listen=events.append)
    assert (snapshot.path / "model.safetensors").read_bytes() == WEIGHTS["org/half"]
    # The machine was started again since, so that the bytes count which the disk had.
    resumed = next(event.offset for event in events if isinstance(event, Resumed))
    assert 0 < resumed == planned.present <= ARRIVED
    assert hub.sent["model.safetensors"] == len(WEIGHTS["org/half"]) - resumed
