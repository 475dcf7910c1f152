from __future__ import annotations

import shutil
from functools import partial

import pytest

from phaita_loader._cache.inventory import Inventory
from phaita_loader._cache.repo import RepoCache
from phaita_loader._resolve import choose_files
from phaita_loader.errors import DeadlineExceeded, NotCached, NotFound, Unreachable
from phaita_loader.fetch import fetch, plan
from phaita_loader.policy import Policy
from phaita_loader.request import ModelRequest
from phaita_loader.retry import Transient
from phaita_loader.snapshot import Verify
from tests.unit.fakes import AT_ONCE, COMMIT, FakeClock, FakeHub, Gives, listing_of, noise, safetensors

WEIGHTS = safetensors(noise(20_000))
REPO = {"config.json": b"{}", "copy.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"not needed"}
PINNED = ModelRequest("org/name", COMMIT)


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    hub.repo = dict(REPO)
    return hub


def test_of_an_empty_cache_everything_is_to_come(hub: FakeHub, cache: RepoCache) -> None:
    planned = plan("org/name", hub=hub)
    assert [file.path for file in planned.files] == ["config.json", "copy.json", "model.safetensors"]
    assert (planned.commit, planned.cached, planned.missing) == (COMMIT, (), planned.files)
    # Two names of the same bytes are one download.
    assert (planned.total, planned.to_come) == (len(WEIGHTS) + 4, len(WEIGHTS) + 2)
    assert not hub.cache_dir.exists(), "nothing is written"
    assert hub.opened == []


def test_what_is_cached_and_what_is_half_there_is_known(hub: FakeHub) -> None:
    hub.answers["model.safetensors"].extend([Gives(5_000, ConnectionResetError()), Gives(0)])
    with pytest.raises(Unreachable):
        fetch("org/name", hub=hub, policy=AT_ONCE)
    planned = plan("org/name", hub=hub)
    assert [file.path for file in planned.cached] == ["config.json", "copy.json"]
    assert (planned.present, planned.to_come) == (5_000, len(WEIGHTS) - 5_000)


@pytest.mark.parametrize("offline", [False, True])
def test_a_cached_commit_needs_no_request(hub: FakeHub, offline: bool) -> None:
    fetch(PINNED, hub=hub)
    fresh = FakeHub(hub.cache_dir, offline=offline)
    planned = plan(PINNED, hub=fresh)
    assert (planned.cached, planned.to_come, fresh.asked) == (planned.files, 0, [])


def test_its_errors_are_those_of_fetch(hub: FakeHub) -> None:
    with pytest.raises(NotCached, match="nothing of this revision") as caught:
        plan("org/name", hub=hub.as_offline())
    assert caught.value.request == ModelRequest("org/name")
    hub.listings.append(Transient("silence"))
    with pytest.raises(Unreachable):
        plan("org/name", hub=hub, policy=AT_ONCE)
    hub.listings.append(listing_of({"notes.md": b""}))
    with pytest.raises(NotFound, match="no files for kind"):
        plan("org/name", hub=hub)


@pytest.mark.parametrize("verify", ["auto", "full"])
def test_the_deadline_holds_while_cached_files_are_digested(hub: FakeHub, cache: RepoCache, verify: Verify) -> None:
    hub.repo["model.safetensors"] = safetensors(noise(3 << 20))
    fetch(PINNED, hub=hub)
    for record in (cache.ours / "stamps").iterdir():
        record.unlink()
    clock = FakeClock(tick=10.0)
    with pytest.raises(DeadlineExceeded, match="while cached files were read"):
        fetch(PINNED, hub=hub, verify=verify, clock=clock.clock, policy=Policy(deadline=25.0))


def test_in_one_call_no_blob_is_digested_twice(hub: FakeHub, cache: RepoCache) -> None:
    snapshot = fetch("org/name", hub=hub)
    reads: list[int] = []
    counting = RepoCache(hub.cache_dir, "org/name", lambda: reads.append(1))
    inventory = Inventory(counting, "full", partial(choose_files, PINNED, hub))
    assert inventory.invalid(snapshot.files) == ()
    before = len(reads)
    assert inventory.invalid(snapshot.files) == ()
    assert before == len(reads) > 0


def test_offline_a_snapshot_whose_listing_nobody_kept_is_whole_or_named(hub: FakeHub, cache: RepoCache) -> None:
    fetch("org/name", hub=hub)
    shutil.rmtree(cache.ours / "listings")
    planned = plan("org/name", hub=hub.as_offline())
    assert (planned.cached, planned.to_come) == (planned.files, 0)
    (cache.snapshot(COMMIT) / "model.safetensors").resolve().unlink()
    with pytest.raises(NotCached, match="weights"):
        plan("org/name", hub=hub.as_offline())
