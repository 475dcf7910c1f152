"""Errors that retrying can't cure are raised before a byte is fetched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phaita_loader._cache.repo import RepoCache
from phaita_loader.errors import AccessDenied, Corrupt, ModelDownloadError, NotCached, NotFound, StorageError
from phaita_loader.fetch import fetch
from phaita_loader.listing import Listing
from phaita_loader.request import ModelRequest
from tests.unit.fakes import COMMIT, OTHER_COMMIT, FakeClock, FakeHub, listing_of
from tests.unit.repo import MAIN, PINNED, REPO, content, quiet


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    hub.repo = dict(REPO)
    return hub


@pytest.mark.parametrize("error", [AccessDenied("gated"), NotFound("gone")], ids=repr)
@pytest.mark.parametrize("cached", [True, False])
def test_the_hubs_answer_is_no_reason_to_fall_back(
    hub: FakeHub, clock: FakeClock, error: ModelDownloadError, cached: bool
) -> None:
    if cached:
        fetch(MAIN, hub=hub)
    again = quiet(hub)
    again.listings.append(error)
    with pytest.raises(type(error)) as caught:
        fetch(MAIN, hub=again, clock=clock.clock)
    assert (caught.value.request, clock.slept, len(again.asked)) == (MAIN, [], 1)
    assert "org/name" in str(caught.value)


@pytest.mark.parametrize("offline", [False, True])
def test_a_cached_repo_without_such_a_model_is_no_empty_snapshot(hub: FakeHub, offline: bool) -> None:
    del hub.repo["vocab.txt"]
    fetch(PINNED, hub=hub)
    with pytest.raises(NotCached if offline else NotFound, match="kind 'tokenizer'"):
        fetch(replace(PINNED, kind="tokenizer"), hub=quiet(hub).as_offline() if offline else quiet(hub))


def test_another_commit_than_the_pinned_one_is_not_taken_for_it(hub: FakeHub) -> None:
    # Some mirrors answer for their newest commit whatever was asked.
    hub.commit = OTHER_COMMIT
    with pytest.raises(Corrupt, match="another commit"):
        fetch(PINNED, hub=hub)
    assert hub.opened == []


def test_a_disk_that_is_too_small_is_told_before_a_byte_is_fetched(hub: FakeHub, clock: FakeClock) -> None:
    huge = replace(listing_of(REPO).files[2], size=1 << 60)
    hub.listings.append(Listing(COMMIT, (*listing_of(REPO).files[:2], huge)))
    with pytest.raises(StorageError, match="too little space") as caught:
        fetch(MAIN, hub=hub, clock=clock.clock)
    assert "hf download" in str(caught.value), "no client gives it by HTTP either"
    assert (hub.opened, clock.slept) == ([], [])


def test_a_cache_folder_that_cant_be(hub: FakeHub, tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").touch()
    hub.cache_dir = tmp_path / "file"
    with pytest.raises(StorageError, match="can't write in"):
        fetch(MAIN, hub=hub, clock=clock.clock)
    assert clock.slept == []


def test_an_unknown_way_to_verify(hub: FakeHub) -> None:
    unknown: Any = "fully"
    with pytest.raises(ValueError, match="auto, full, size"):
        fetch(MAIN, hub=hub, verify=unknown)


def test_names_that_are_one_on_this_disk_are_refused_before_a_byte(hub: FakeHub, cache: RepoCache) -> None:
    hub.repo["Config.json"] = b"{}"
    assert {"config.json", "Config.json"} <= content(fetch(MAIN, hub=hub)).keys()
    (cache.folder / "SNAPSHOTS").mkdir()  # as if the disk folded case
    fresh = quiet(hub)
    fresh.commit = OTHER_COMMIT
    with pytest.raises(StorageError, match=r"Config\.json and config\.json|config\.json and Config\.json"):
        fetch(MAIN, hub=fresh)
    assert fresh.opened == []


def test_a_file_that_the_hub_does_not_give_by_http_fails_before_any_byte(
    hub: FakeHub, cache: RepoCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    spacious = shutil.disk_usage(cache.cache_dir.parent)._replace(free=1 << 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: spacious)  # this machine's own disk may be smaller
    huge = replace(listing_of(hub.repo).files[2], size=60 * 1000**3)
    hub.listings.append(Listing(COMMIT, (*listing_of(hub.repo).files[:2], huge)))
    with pytest.raises(ModelDownloadError, match=r"60\.0 GB") as caught:
        fetch(MAIN, hub=hub)
    assert f"hf download org/name --revision {COMMIT} --include model.safetensors" in str(caught.value)
    assert (hub.opened, cache.folder.exists()) == ([], False)


def test_a_name_that_no_disk_takes_is_told_before_a_byte_is_fetched(hub: FakeHub) -> None:
    name = "x" * 260 + ".json"
    hub.repo[name] = b"{}"
    with pytest.raises(StorageError, match="too long for a file name") as caught:
        fetch(MAIN, hub=hub)
    assert "ignore_patterns" in str(caught.value)
    assert hub.opened == []
    assert fetch(ModelRequest("org/name", ignore_patterns=(name,)), hub=hub).files
