"""Snapshots from the Hub, from the cache, and from the partial files of an earlier call."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

import pytest

from phaita_loader._cache.repo import RepoCache
from phaita_loader.errors import Corrupt, DeadlineExceeded, RateLimited, Unreachable
from phaita_loader.fetch import fetch
from phaita_loader.hub import Body
from phaita_loader.policy import Policy
from phaita_loader.progress import Done, Event, Plan, Received, Verified
from phaita_loader.request import ModelRequest
from phaita_loader.retry import Transient
from tests.unit.fakes import COMMIT, OTHER_COMMIT, Asked, FakeClock, FakeHub, Gives, listed, listing_of, noise
from tests.unit.repo import MAIN, PINNED, REPO, content, quiet

RESET = ConnectionResetError("reset")


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    hub.repo = dict(REPO)
    return hub


def test_a_repo_arrives_in_the_standard_cache(hub: FakeHub, cache: RepoCache) -> None:
    hub.repo["README.md"] = b"not needed"
    events: list[Event] = []
    snapshot = fetch("org/name", hub=hub, listen=events.append)
    assert content(snapshot) == REPO
    assert (snapshot.commit, snapshot.path, snapshot.attempts) == (COMMIT, cache.snapshot(COMMIT), ())
    assert (cache.folder / "refs" / "main").read_text() == COMMIT
    assert len(list((cache.folder / "blobs").iterdir())) == len(REPO)
    assert (events[0], events[-1]) == (Plan("org/name", 3, sum(map(len, REPO.values())), 0), Done(COMMIT))
    assert sorted(path.name for path in cache.ours.iterdir()) == ["listings"]


def test_small_files_come_first(hub: FakeHub) -> None:
    sizes = {f"{n}.json": noise(1000 - n) for n in range(12)}
    hub.repo |= sizes
    fetch(MAIN, hub=hub)
    # Four are under way at a time, so the last one begun is among the last four to be heard of.
    assert "model.safetensors" in [path for path, _, _ in hub.opened[-4:]]


@pytest.mark.parametrize("request_", [MAIN, PINNED], ids=["branch", "pinned"])
def test_what_is_cached_is_not_fetched_again(hub: FakeHub, request_: ModelRequest) -> None:
    first = fetch(request_, hub=hub)
    again = quiet(hub)
    assert fetch(request_, hub=again) == first
    assert (again.asked, again.opened) == ([] if request_.pinned else ["main"], [])


def test_a_tag_of_the_same_commit_costs_one_question(hub: FakeHub, cache: RepoCache) -> None:
    fetch(MAIN, hub=hub)
    again = quiet(hub)
    fetch(ModelRequest("org/name", "v1"), hub=again)
    assert (again.asked, again.opened, cache.commit_of("v1")) == (["v1"], [], COMMIT)


def test_a_branch_that_moved_brings_what_is_new(hub: FakeHub, cache: RepoCache) -> None:
    fetch(MAIN, hub=hub)
    moved = quiet(hub)
    moved.commit, moved.repo["config.json"] = OTHER_COMMIT, b'{"new": 1}'
    snapshot = fetch(MAIN, hub=moved)
    assert content(snapshot) == moved.repo
    assert [path for path, _, _ in moved.opened] == ["config.json"]
    assert cache.commit_of("main") == OTHER_COMMIT
    assert (cache.snapshot(COMMIT) / "config.json").read_bytes() == b"{}", "the old commit stays as it was"


@pytest.mark.parametrize("answer", [Transient("the Hub answered 503"), Transient("silence")], ids=str)
def test_a_branch_falls_back_to_what_is_cached(
    hub: FakeHub, answer: Exception, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    first = fetch(MAIN, hub=hub)
    again = quiet(hub)
    again.listings.append(answer)
    assert fetch(MAIN, hub=again, clock=clock.clock) == first
    assert (len(again.asked), clock.slept) == (1, [])
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("phaita_loader", logging.WARNING)
    assert record.getMessage() == f"org/name: {answer}; using the cached commit {COMMIT[:12]}"


def test_the_listing_is_retried(hub: FakeHub, clock: FakeClock) -> None:
    hub.listings.extend([Transient("503"), Transient("503")])
    snapshot = fetch(MAIN, hub=hub, clock=clock.clock)
    assert clock.slept == [10.0, 20.0]
    assert [(attempt.step, attempt.cause) for attempt in snapshot.attempts] == [("listing", "503")] * 2


def test_listing_and_transfer_count_apart(hub: FakeHub, clock: FakeClock) -> None:
    hub.listings.extend([Transient("503"), Transient("503")])
    hub.answers["config.json"].extend([Transient("refused"), Transient("refused")])
    snapshot = fetch(MAIN, hub=hub, clock=clock.clock)
    assert clock.slept == [10.0, 20.0, 10.0, 20.0]
    assert [attempt.step for attempt in snapshot.attempts] == ["listing"] * 2 + ["transfer"] * 2


def test_a_fetch_that_failed_is_gone_on_with(hub: FakeHub, clock: FakeClock, cache: RepoCache) -> None:
    hub.answers["model.safetensors"].extend([Gives(15_000, RESET), Transient("refused")])
    with pytest.raises(Unreachable, match="refused") as caught:
        fetch(MAIN, hub=hub, policy=Policy(attempts=1), clock=clock.clock)
    assert "hf download org/name --revision main" in str(caught.value)
    assert not (cache.folder / "refs").exists(), "a ref speaks of a complete snapshot"
    again = quiet(hub)
    events: list[Event] = []
    assert content(fetch(MAIN, hub=again, listen=events.append)) == REPO
    assert again.opened == [("model.safetensors", 15_000, None)]
    assert isinstance(events[0], Plan)
    assert events[0].present == 15_000


def test_bytes_that_are_wrong_every_time(hub: FakeHub, clock: FakeClock, cache: RepoCache) -> None:
    wrong = Gives(data=bytes(len(REPO["model.safetensors"])))
    hub.answers["model.safetensors"].extend([wrong] * 3)
    with pytest.raises(Corrupt, match=r"model\.safetensors arrived with a wrong sha256") as caught:
        fetch(MAIN, hub=hub, clock=clock.clock)
    assert clock.slept == [10.0, 20.0]
    assert len(caught.value.attempts) == 3
    digests = {path.name for path in (cache.folder / "blobs").iterdir()}
    assert next(f.digest for f in listing_of(REPO).files if f.path == "model.safetensors") not in digests


@pytest.mark.parametrize(
    ("failure", "numbers", "error"),
    [
        (Transient("429", final=RateLimited, retry_after=400.0), {}, RateLimited),
        (Transient("429", final=RateLimited, retry_after=60.0), {"deadline": 30.0}, RateLimited),
        (Transient("503"), {"deadline": 5.0}, DeadlineExceeded),
    ],
)
def test_patience_ends(
    hub: FakeHub, clock: FakeClock, failure: Exception, numbers: dict[str, Any], error: type[Exception]
) -> None:
    hub.answers["config.json"].append(failure)
    with pytest.raises(error):
        fetch(MAIN, hub=hub, policy=Policy(**numbers), clock=clock.clock)
    assert clock.slept == []


def test_a_blob_that_is_wrong_is_fetched_again(hub: FakeHub, cache: RepoCache) -> None:
    fetch(MAIN, hub=hub)
    for file in listing_of(REPO).files:
        if file.path == "vocab.txt":
            cache.blob(file).write_bytes(b"rot!")
    again = quiet(hub)
    assert content(fetch(MAIN, hub=again)) == REPO
    assert [path for path, _, _ in again.opened] == ["vocab.txt"]


def test_a_pointer_that_is_gone_is_made_again_without_bytes(hub: FakeHub, cache: RepoCache) -> None:
    fetch(PINNED, hub=hub)
    (cache.snapshot(COMMIT) / "vocab.txt").unlink()
    again = quiet(hub)
    assert content(fetch(PINNED, hub=again)) == REPO
    assert again.opened == []


def test_the_globs_of_a_request(hub: FakeHub) -> None:
    hub.repo["onnx/model.onnx"] = b"onnx"
    request = ModelRequest("org/name", allow_patterns=("*.onnx", "*.json"), ignore_patterns=("conf*",))
    assert content(fetch(request, hub=hub)) == {"onnx/model.onnx": b"onnx"}


def test_a_snapshot_says_which_endpoint_named_it(hub: FakeHub) -> None:
    hub.listings.append(replace(listing_of(hub.repo), endpoint="https://mirror.test"))
    assert fetch(MAIN, hub=hub).endpoint == "https://mirror.test"
    assert fetch(PINNED, hub=hub).endpoint is None, "the cache alone knew"


def test_a_listing_with_holes_is_not_kept(hub: FakeHub, cache: RepoCache) -> None:
    hub.listings.append(replace(listing_of(hub.repo), complete=False))
    fetch(MAIN, hub=hub)
    assert cache.saved_listing(COMMIT) is None


def test_what_another_tool_deletes_meanwhile_comes_once_more(hub: FakeHub, cache: RepoCache) -> None:
    class Deletes(FakeHub):
        def answer(self, asked: Asked) -> Body:
            if asked.file.path == "model.safetensors" and len(self.opened) < 4:
                for blob in (cache.folder / "blobs").iterdir():
                    blob.unlink()
            return super().answer(asked)

    deletes = Deletes(hub.cache_dir)
    deletes.repo = dict(REPO)
    assert content(fetch(MAIN, hub=deletes)) == REPO


def test_a_portal_that_intercepts_tls_does_not_hide_a_cached_branch(hub: FakeHub) -> None:
    first = fetch(MAIN, hub=hub)
    fresh = quiet(hub)
    fresh.listings.append(Unreachable("the TLS certificate of the portal is not trusted"))
    assert fetch(MAIN, hub=fresh).path == first.path


def test_partials_that_nobody_asked_for_again_go_with_the_next_download(hub: FakeHub, cache: RepoCache) -> None:
    old = cache.ours / ("e" * 64)
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    fetch(MAIN, hub=hub)
    assert not old.exists()


def test_every_byte_is_told_once_and_every_file_verified_once(hub: FakeHub) -> None:
    events: list[Event] = []
    hub.answers["model.safetensors"].extend([Gives(9_000, RESET), Gives(0), Gives(3_000, RESET), Gives(0)])
    fetch(MAIN, hub=hub, listen=events.append, clock=FakeClock().clock)
    total = next(event.total for event in events if isinstance(event, Plan))
    assert sum(event.count for event in events if isinstance(event, Received)) == total
    assert sorted(event.path for event in events if isinstance(event, Verified)) == sorted(REPO)


def test_what_another_call_brought_is_not_told_as_new(hub: FakeHub, cache: RepoCache) -> None:
    """5,000 bytes are present when the plan is reported; all others come from another process."""
    hub.answers["model.safetensors"].extend([Gives(5_000, RESET), Gives(0)])
    with pytest.raises(Unreachable):
        fetch(MAIN, hub=hub, policy=Policy(attempts=1))
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Plan):
            cache.blob(listed("model.safetensors", REPO["model.safetensors"])).write_bytes(REPO["model.safetensors"])

    fetch(MAIN, hub=quiet(hub), listen=listen)
    planned = next(event for event in events if isinstance(event, Plan))
    assert planned.present == 5_000
    assert sum(event.count for event in events if isinstance(event, Received)) == planned.total - planned.present
