from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from phaita_loader._cache import RepoCache
from phaita_loader._leftovers import present
from phaita_loader._partial import Partial
from phaita_loader._route import Route
from phaita_loader.errors import Corrupt, NotFound, StorageError
from phaita_loader.listing import SMALL
from phaita_loader.policy import Policy
from phaita_loader.progress import Dropped, Event, Received, Resumed, Verified, Wait
from phaita_loader.retry import Transient
from phaita_loader.transfer import BlobTransfer
from tests.unit.fakes import COMMIT, SIGNED, FakeClock, FakeHub, Gives, listed, noise

NAME = "model.safetensors"
DATA = noise(200_000)
FILE = listed(NAME, DATA)
CUT = ConnectionResetError("reset")


class Scene:
    """One file of one repo, and what was heard of it."""

    def __init__(self, hub: FakeHub, data: bytes = DATA) -> None:
        self.hub, self.file = hub, listed(NAME, data)
        hub.repo[NAME] = data
        self.events: list[Event] = []
        self.cache = RepoCache(hub.cache_dir, "org/name")
        self.cache.prepare(COMMIT)
        self.blob = self.cache.blob(self.file)

    def transfer(self, *answers: Gives | Exception) -> BlobTransfer:
        self.hub.answers[NAME].extend(answers)
        alone = Policy(connections=1)
        return BlobTransfer(self.file, Route(self.hub, self.cache, COMMIT, alone, listen=self.events.append))

    def run(self, *answers: Gives | Exception) -> BlobTransfer:
        transfer = self.transfer(*answers)
        transfer.run()
        assert transfer.ended
        return transfer

    @property
    def starts(self) -> list[int]:
        return [start for _, start, _ in self.hub.opened]

    @property
    def present(self) -> int:
        return present(self.cache.ours, [self.file]).total()

    def assert_unlocked(self) -> None:
        with FileLock(self.cache.lock(self.file), timeout=0):
            pass


@pytest.fixture
def scene(hub: FakeHub) -> Iterator[Scene]:
    scene = Scene(hub)
    yield scene
    scene.assert_unlocked()
    assert all(body.response.closed for body in hub.bodies), "every connection is given up in the end"


@contextmanager
def running(transfer: BlobTransfer) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=transfer.run, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def wait_for(condition: object) -> None:
    until = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.001)


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
    assert (transfer.error.earns, transfer.error.final, transfer.received) == (False, Corrupt, 0)
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
    """One odd answer of a server that knows ranges is not worth what is there already."""
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


@pytest.mark.parametrize("error", [NotFound("gone"), KeyError("a bug")])
def test_other_errors_end_it_and_keep_what_came(scene: Scene, error: Exception) -> None:
    transfer = scene.run(Gives(60_000, CUT), error)
    assert transfer.error is error
    assert scene.present == 60_000


def test_a_cache_that_cant_be_written(scene: Scene) -> None:
    (scene.cache.folder / "blobs").rmdir()
    (scene.cache.folder / "blobs").touch()
    assert isinstance(scene.run().error, StorageError)
    assert scene.present == len(DATA), "the bytes are right, and wait for a cache that takes them"


def test_a_partial_that_is_deleted_meanwhile_is_begun_again(scene: Scene) -> None:
    transfer = scene.transfer(Gives(60_000, silent=True))
    with running(transfer):
        wait_for(lambda: transfer.received == 60_000)
        shutil.rmtree(scene.cache.folder)
        scene.hub.bodies[0].abort()
    assert (transfer.error, transfer.received) == (None, len(DATA))
    assert scene.blob.read_bytes() == DATA


def test_one_that_is_deleted_again_and_again_ends_the_attempt(scene: Scene) -> None:
    class Deletes(FakeHub):
        def open_file(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            shutil.rmtree(scene.cache.folder)
            return super().open_file(*args, **kwargs)  # type: ignore[arg-type]

    hub = Deletes(scene.hub.cache_dir)
    hub.repo[NAME] = DATA
    transfer = BlobTransfer(scene.file, Route(hub, scene.cache, COMMIT, Policy()))
    transfer.run()
    assert isinstance(transfer.error, Transient)
    assert transfer.error.final is StorageError


def test_abandon_ends_a_silent_body_and_keeps_what_came(scene: Scene) -> None:
    transfer = scene.transfer(Gives(60_000, silent=True))
    with running(transfer):
        wait_for(lambda: transfer.received == 60_000)
        transfer.abandon("too slow")
        assert transfer.ended
        assert str(transfer.error) == "too slow"
        assert scene.present == 60_000
        scene.assert_unlocked()
    assert scene.starts == [0], "nobody asks for more on behalf of a transfer that was given up"
    assert scene.present == 60_000


class SlowToOpen(FakeHub):
    """Answers only when told to: a stuck name lookup."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(cache_dir)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def open_file(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        self.reached.set()
        assert self.go_on.wait(10)
        return super().open_file(*args, **kwargs)  # type: ignore[arg-type]


def test_a_body_that_opens_too_late_is_not_read(tmp_path: Path) -> None:
    hub = SlowToOpen(tmp_path)
    scene = Scene(hub)
    transfer = scene.transfer(Gives(0, silent=True))
    with running(transfer):
        assert hub.reached.wait(10)
        transfer.end_stuck(time.monotonic() + 5, limit=60)
        assert not transfer.ended
        transfer.end_stuck(time.monotonic() + 5, limit=4)
        wait_for(lambda: transfer.ended)
        scene.assert_unlocked()
        other = Partial(scene.cache.ours, scene.file)  # whoever comes next is not disturbed
        hub.go_on.set()
    assert (str(transfer.error), transfer.received, scene.blob.exists()) == (
        f"no answer for {NAME} within 4 s",
        0,
        False,
    )
    assert hub.bodies[0].response.closed
    other.discard()


def test_the_lock_is_waited_for(scene: Scene) -> None:
    lock = FileLock(scene.cache.lock(scene.file), thread_local=False)
    scene.cache.lock(scene.file).parent.mkdir(parents=True, exist_ok=True)
    transfer = scene.transfer()
    with lock, running(transfer):
        wait_for(lambda: transfer.locked_out)
        assert scene.starts == []
        lock.release()
    assert (transfer.error, transfer.locked_out) == (None, False)


def test_abandon_ends_the_wait_for_a_lock(scene: Scene) -> None:
    scene.cache.lock(scene.file).parent.mkdir(parents=True, exist_ok=True)
    transfer = scene.transfer()
    with FileLock(scene.cache.lock(scene.file)), running(transfer):
        transfer.abandon("given up")
    assert str(transfer.error) == "given up"


def test_one_abandoned_before_it_began_does_nothing(scene: Scene) -> None:
    transfer = scene.transfer()
    transfer.abandon("given up")
    transfer.run()
    assert (str(transfer.error), scene.starts) == ("given up", [])


def test_the_end_is_told_once(scene: Scene) -> None:
    states: list[bool] = []
    route = Route(scene.hub, scene.cache, COMMIT, Policy())
    transfer = BlobTransfer(scene.file, route, lambda: states.append(transfer.ended))
    transfer.run()
    transfer.abandon("given up")
    assert (states, transfer.error) == ([False, True], None), "the first answer, and the end"


def test_a_lock_that_another_process_has_is_said_every_15_seconds(
    scene: Scene, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.tick = 4.0
    route = Route(scene.hub, scene.cache, COMMIT, Policy(), listen=scene.events.append, clock=clock.clock)
    transfer = BlobTransfer(scene.file, route)
    with FileLock(scene.cache.lock(scene.file), thread_local=False) as lock, running(transfer):
        wait_for(lambda: len(caplog.records) >= 2)
        lock.release()
    assert transfer.error is None
    assert caplog.messages[0] == f"org/name: another process is downloading {NAME}; waiting for it"
    first, second = [event for event in scene.events if isinstance(event, Wait)][:2]
    assert second.until - first.until >= 15.0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_disk_that_fills_up_keeps_what_came_and_says_what_is_missing(hub: FakeHub) -> None:
    import resource

    scene = Scene(hub, noise(6 << 20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))  # what a full disk looks like to one file
    try:
        transfer = scene.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(transfer.error, StorageError)
    assert "4.2 MB of model.safetensors are still to come" in transfer.error.cause
    assert scene.present == 2 << 20
    assert scene.run().error is None
    assert scene.starts == [0, 2 << 20]
