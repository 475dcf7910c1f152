"""Listings of real size, over the real API."""

from __future__ import annotations

from typing import Any

import pytest

from phaita_loader import ModelRequest, Unreachable, fetch
from phaita_loader.request import may_need
from tests.hub import Answer, Commit, Repo
from tests.wires.support import NAME, QUICK, Connect, Serve, assert_whole, small_files

MANY = 10_050


@pytest.fixture(scope="module")
def crowded() -> Any:
    """Ten thousand files of no use beside the few that a model takes."""
    logs = {f"runs/{number:05d}.log": b"%d" % number for number in range(MANY)}
    return Repo(NAME, [Commit({**small_files(), "model.safetensors": b"\2\0\0\0\0\0\0\0{}", **logs})])


def pages(hub: Any) -> Any:
    return [seen for seen in hub.seen if "/tree/" in seen.path]


def test_a_crowded_repo_is_read_as_pages(serve: Serve, client: Connect, crowded: Any) -> None:
    hub = serve(crowded)
    listing = client(hub).listing(NAME, "main", timeout=10.0)
    assert len(listing.files) == MANY + 4
    assert listing.complete
    assert len(pages(hub)) == 11


def test_and_thinned_out_on_the_way(serve: Serve, client: Connect, crowded: Any) -> None:
    listing = client(serve(crowded)).listing(NAME, "main", timeout=10.0, keep=may_need)
    assert sorted(file.path for file in listing.files) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert not listing.complete


def test_a_crowded_repo_is_fetched(serve: Serve, client: Connect, crowded: Any) -> None:
    snapshot = fetch(ModelRequest(NAME, kind="tokenizer"), hub=client(serve(crowded)), policy=QUICK)
    assert_whole(snapshot, crowded)


def test_a_page_that_fails_is_an_attempt(serve: Serve, client: Connect, crowded: Any) -> None:
    hub = serve(crowded)
    hub.answer(Answer(on="hub", match="/tree/", skip=5, status=503, times=None))
    with pytest.raises(Unreachable) as caught:
        fetch(NAME, hub=client(hub), policy=QUICK)
    assert [attempt.step for attempt in caught.value.attempts] == ["listing", "listing"]
