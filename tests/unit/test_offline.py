"""`fetch` from the cache alone, whichever client filled it."""

from __future__ import annotations

import shutil

import pytest

from phaita_loader._cache.repo import RepoCache
from phaita_loader.errors import NotCached
from phaita_loader.fetch import fetch
from phaita_loader.request import ModelRequest
from tests.unit.fakes import COMMIT, FakeHub
from tests.unit.repo import MAIN, PINNED, REPO, SHARDED, content, quiet


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    hub.repo = dict(REPO)
    return hub


def offline(hub: FakeHub) -> FakeHub:
    return FakeHub(hub.cache_dir, offline=True)


@pytest.mark.parametrize("request_", [MAIN, PINNED], ids=["branch", "pinned"])
def test_offline_asks_nothing(hub: FakeHub, request_: ModelRequest) -> None:
    first = fetch(request_, hub=hub)
    alone = offline(hub)
    assert fetch(request_, hub=alone) == first
    assert (alone.asked, alone.opened) == ([], [])


@pytest.mark.parametrize("request_", [MAIN, PINNED, ModelRequest("org/name", "v2")], ids=lambda r: r.revision[:6])
def test_offline_without_anything(hub: FakeHub, request_: ModelRequest) -> None:
    with pytest.raises(NotCached) as caught:
        fetch(request_, hub=offline(hub))
    assert caught.value.request == request_
    steps = caught.value.hint.splitlines()
    assert steps[0].startswith("fetch it once while online: hf download org/name --revision ")
    assert str(hub.cache_dir) in steps[1]
    assert "goes on from there" not in caught.value.hint, "nothing came, and the same call would end as this one"


def test_offline_names_what_is_missing(hub: FakeHub, cache: RepoCache) -> None:
    fetch(MAIN, hub=hub)
    (cache.snapshot(COMMIT) / "vocab.txt").resolve().unlink()
    with pytest.raises(NotCached, match=r"lacks vocab\.txt") as caught:
        fetch(MAIN, hub=offline(hub))
    assert caught.value.missing == ("vocab.txt",)


def by_another_client(hub: FakeHub, cache: RepoCache, repo: dict[str, bytes]) -> None:
    """Put the repo in the cache without a saved listing, as other clients do."""
    hub.repo = dict(repo)
    fetch(MAIN, hub=hub)
    shutil.rmtree(cache.ours)


@pytest.mark.parametrize("repo", [REPO, SHARDED], ids=["whole", "sharded"])
def test_a_cache_that_another_client_filled(hub: FakeHub, cache: RepoCache, repo: dict[str, bytes]) -> None:
    by_another_client(hub, cache, repo)
    assert content(fetch(MAIN, hub=offline(hub))) == repo


@pytest.mark.parametrize(
    ("repo", "lost", "missing"),
    [
        (REPO, "model.safetensors", "the weights or the tokenizer"),
        (SHARDED, "model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    ],
)
def test_what_another_client_left_undone(
    hub: FakeHub, cache: RepoCache, repo: dict[str, bytes], lost: str, missing: str
) -> None:
    by_another_client(hub, cache, repo)
    pointer = cache.snapshot(COMMIT) / lost
    pointer.resolve().unlink()
    pointer.unlink()
    with pytest.raises(NotCached) as caught:
        fetch(MAIN, hub=offline(hub))
    assert missing in caught.value.missing
    again = quiet(hub)
    assert content(fetch(MAIN, hub=again)) == repo
    assert [path for path, _, _ in again.opened] == [lost]


def test_an_index_that_rotted_is_fetched_again(hub: FakeHub, cache: RepoCache) -> None:
    by_another_client(hub, cache, SHARDED)
    index = "model.safetensors.index.json"
    (cache.snapshot(COMMIT) / index).resolve().write_bytes(b"{rotten")
    with pytest.raises(NotCached) as caught:
        fetch(MAIN, hub=offline(hub))
    assert index in caught.value.missing
    assert content(fetch(MAIN, hub=quiet(hub))) == SHARDED
