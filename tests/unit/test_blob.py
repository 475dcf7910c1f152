"""The download of one blob over dropped connections, redirects and odd servers."""

from __future__ import annotations

import sys

import pytest

from phaita_loader.errors import Corrupt
from phaita_loader.listing import SMALL
from phaita_loader.progress import Dropped, Received, Resumed, Verified
from phaita_loader.retry import Transient
from tests.unit.fakes import SIGNED, FakeHub, Gives, noise
from tests.unit.scene import CUT, DATA, NAME, Scene


def test_a_blob_arrives(scene: Scene) -> None:
    transfer = scene.run()
    assert transfer.error is None
    assert scene.blob.read_bytes() == DATA
    assert (scene.starts, scene.present, transfer.received) == ([0], 0, len(DATA))
    assert sum(event.count for event in scene.events if isinstance(event, Received)) == len(DATA)
    assert scene.events[-1] == Verified(NAME)


def test_what_was_digested_on_the_way_need_not_be_digested_again(hub: FakeHub) -> None:
    scene = Scene(hub, noise(SMALL + 1))
    assert scene.run().error is None
    assert scene.cache.stamp(scene.file).exists()


def test_an_empty_file_needs_no_request(hub: FakeHub) -> None:
    scene = Scene(hub, b"")
    assert scene.run().error is None
    assert (scene.blob.read_bytes(), scene.starts) == (b"", [])


def test_a_blob_that_another_process_brought_needs_none_either(scene: Scene) -> None:
    scene.blob.write_bytes(DATA)
    assert scene.run().error is None
    assert scene.starts == []


DROPS = [
    # A reset, a silence, an end that came early: it goes on at the first missing byte, and no byte comes twice.
    [Gives(50_000, CUT), Gives(1, TimeoutError()), Gives(99_999)],
    # What the connection could not be opened for counts as nothing, so bytes must come in between.
    [Gives(16_384, CUT)] * 3,
]


@pytest.mark.parametrize("answers", DROPS)
def test_a_drop_goes_on_at_the_first_missing_byte(scene: Scene, answers: list[Gives]) -> None:
    assert scene.run(*answers).error is None
    expected = [sum(answer.count or 0 for answer in answers[:n]) for n in range(len(answers) + 1)]
    assert scene.starts == expected
    assert scene.hub.sent[NAME] == len(DATA)
    assert scene.blob.read_bytes() == DATA
    assert len([event for event in scene.events if isinstance(event, Dropped)]) == len(answers)


def test_thousands_of_drops_take_no_stack(hub: FakeHub) -> None:
    scene = Scene(hub, noise(2500 * 16_384))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        assert scene.run(*[Gives(16_384, CUT)] * 2500).error is None
    finally:
        sys.setrecursionlimit(limit)
    assert len(scene.starts) == 2500
    assert hub.sent[NAME] == scene.file.size


@pytest.mark.parametrize(
    "nothing", [Gives(0, CUT), Gives(0), Transient("refused"), Transient("503", retry_after=5.0)], ids=repr
)
def test_a_connection_that_brings_nothing_fails_the_attempt(scene: Scene, nothing: Gives | Exception) -> None:
    transfer = scene.run(Gives(60_000, CUT), nothing)
    assert isinstance(transfer.error, Transient)
    assert (scene.starts, transfer.received, scene.present) == ([0, 60_000], 60_000, 60_000)
    if isinstance(nothing, Transient):
        assert transfer.error is nothing


def test_the_next_attempt_goes_on_from_the_partial(scene: Scene) -> None:
    scene.run(Gives(60_000, CUT), Gives(0))
    transfer = scene.run()
    assert (transfer.error, transfer.received) == (None, len(DATA) - 60_000)
    assert scene.starts == [0, 60_000, 60_000]
    assert Resumed(NAME, 60_000) in scene.events
    assert scene.hub.sent[NAME] == len(DATA)


def test_a_wrong_digest_discards_everything_and_excuses_nothing(scene: Scene) -> None:
    transfer = scene.run(Gives(data=DATA[:-1] + b"?"))
    assert isinstance(transfer.error, Transient)
    assert (transfer.error.creditable, transfer.error.final, transfer.received) == (False, Corrupt, 0)
    assert (scene.present, scene.blob.exists(), scene.cache.stamp(scene.file).exists()) == (0, False, False)
    assert sum(event.count for event in scene.events if isinstance(event, Received)) == 0
    assert scene.run().error is None
    assert scene.blob.read_bytes() == DATA


def test_wrong_bytes_of_an_earlier_attempt_are_found_too(scene: Scene) -> None:
    scene.run(Gives(60_000, CUT, data=b"?" + DATA[1:]), Gives(0))
    assert isinstance(scene.run().error, Transient)
    assert not scene.blob.exists()


def test_a_server_that_ignores_ranges(scene: Scene) -> None:
    transfer = scene.run(Gives(60_000, CUT), Gives(ranges=False))
    assert (transfer.error, transfer.received) == (None, len(DATA))
    assert scene.blob.read_bytes() == DATA


def test_what_was_digested_is_never_overwritten(hub: FakeHub) -> None:
    # Or the digest would speak of bytes that the file no longer has.
    scene = Scene(hub, noise(5 << 20))
    wrong_start = b"?" * 1000 + hub.repo[NAME][1000:]
    whole = Gives(ranges=False, data=wrong_start)
    assert scene.run(Gives(2 << 20, CUT), whole, whole).error is None
    assert scene.starts == [0, 2 << 20, 2 << 20]
    assert scene.blob.read_bytes() == hub.repo[NAME]


def test_a_whole_file_in_place_of_a_part_is_not_taken_the_first_time(hub: FakeHub) -> None:
    """One odd response of a server that supports ranges is no reason to give up the bytes that are present."""
    scene = Scene(hub, noise(5 << 20))
    transfer = scene.run(Gives(2 << 20, CUT, location=SIGNED), Gives(ranges=False))
    assert (transfer.error, transfer.received) == (None, scene.file.size)
    assert [(start, location) for _, start, location in hub.opened] == [(0, None), (2 << 20, SIGNED), (2 << 20, None)]
    assert sum(event.count for event in scene.events if isinstance(event, Received)) == scene.file.size


def test_more_bytes_than_there_should_be_are_dropped(scene: Scene) -> None:
    assert scene.run(Gives(data=DATA + b"more")).error is None
    assert scene.blob.read_bytes() == DATA


def locations(scene: Scene) -> list[str | None]:
    return [location for _, _, location in scene.hub.opened]


def test_a_signed_location_is_used_again(scene: Scene) -> None:
    scene.run(*[Gives(20_000, CUT, location=SIGNED)] * 3)
    assert locations(scene) == [None, SIGNED, SIGNED, SIGNED]


def test_an_expired_location_is_asked_anew_once(scene: Scene) -> None:
    expired = Transient("the CDN refused the signed URL (403)")
    fresh = Gives(20_000, CUT, location=SIGNED)
    assert scene.run(fresh, expired, fresh, expired, Gives()).error is None
    assert locations(scene) == [None, SIGNED, None, SIGNED, None]


def test_a_location_that_is_refused_when_fresh_fails_the_attempt(scene: Scene) -> None:
    expired = Transient("the CDN refused the signed URL (403)")
    transfer = scene.run(Gives(20_000, CUT, location=SIGNED), expired, expired)
    assert transfer.error is expired
    assert locations(scene) == [None, SIGNED, None]
