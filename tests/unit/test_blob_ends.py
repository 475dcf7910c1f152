"""A download of one blob that ends early, waits for another process, or is cancelled."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from phaita_loader._transfer.blob import BlobDownload, Stage
from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.partial import Partial
from phaita_loader.errors import NotFound, StorageError
from phaita_loader.hub import Body
from phaita_loader.progress import Wait
from phaita_loader.retry import Retrying, Transient
from tests.unit.fakes import COMMIT, Asked, FakeClock, FakeHub, Gives, noise
from tests.unit.scene import CUT, DATA, NAME, Scene


@contextmanager
def running(transfer: BlobDownload) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=transfer.run, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.001)


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
        scene.hub.bodies[0].cancel()
    assert (transfer.error, transfer.received) == (None, len(DATA))
    assert scene.blob.read_bytes() == DATA


def test_one_that_is_deleted_again_and_again_ends_the_attempt(scene: Scene) -> None:
    class Deletes(FakeHub):
        def answer(self, asked: Asked) -> Body:
            shutil.rmtree(scene.cache.folder)
            return super().answer(asked)

    hub = Deletes(scene.hub.cache_dir)
    hub.repo[NAME] = DATA
    transfer = BlobDownload(scene.file, TransferContext(hub, scene.cache, COMMIT))
    transfer.run()
    assert isinstance(transfer.error, Transient)
    assert transfer.error.final is StorageError


def test_abandon_ends_a_silent_body_and_keeps_what_came(scene: Scene) -> None:
    transfer = scene.transfer(Gives(60_000, silent=True))
    with running(transfer):
        wait_for(lambda: transfer.received == 60_000)
        transfer.cancel("too slow")
        assert transfer.ended
        assert str(transfer.error) == "too slow"
        assert scene.present == 60_000
        scene.assert_unlocked()
    assert scene.starts == [0], "nobody asks for more on behalf of a transfer that was given up"
    assert scene.present == 60_000


class SlowToOpen(FakeHub):
    """A Hub that answers only when told to, like a stuck name lookup."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(cache_dir)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def answer(self, asked: Asked) -> Body:
        self.reached.set()
        assert self.go_on.wait(10)
        return super().answer(asked)


def test_a_body_that_opens_too_late_is_not_read(tmp_path: Path) -> None:
    hub = SlowToOpen(tmp_path)
    scene = Scene(hub)
    transfer = scene.transfer(Gives(0, silent=True))
    with running(transfer):
        assert hub.reached.wait(10)
        transfer.cancel_stuck(time.monotonic() + 5, limit=60)
        assert not transfer.ended
        transfer.cancel_stuck(time.monotonic() + 5, limit=4)
        wait_for(lambda: transfer.ended)
        scene.assert_unlocked()
        other = Partial(scene.cache.ours, scene.file)  # whoever comes next is not disturbed
        hub.go_on.set()
    assert (str(transfer.error), transfer.received, scene.blob.exists()) == (
        f"no answer for {NAME} within 4 s",
        0,
        False,
    )
    assert hub.responses[0].closed
    other.discard()


def test_the_lock_is_waited_for(scene: Scene) -> None:
    lock = FileLock(scene.cache.lock(scene.file), thread_local=False)
    scene.cache.lock(scene.file).parent.mkdir(parents=True, exist_ok=True)
    transfer = scene.transfer()
    with lock, running(transfer):
        wait_for(lambda: transfer.stage is Stage.LOCKED_OUT)
        assert scene.starts == []
        lock.release()
    assert (transfer.error, transfer.stage) == (None, Stage.DONE)


def test_abandon_ends_the_wait_for_a_lock(scene: Scene) -> None:
    scene.cache.lock(scene.file).parent.mkdir(parents=True, exist_ok=True)
    transfer = scene.transfer()
    with FileLock(scene.cache.lock(scene.file)), running(transfer):
        transfer.cancel("given up")
    assert str(transfer.error) == "given up"


def test_one_abandoned_before_it_began_does_nothing(scene: Scene) -> None:
    transfer = scene.transfer()
    transfer.cancel("given up")
    transfer.run()
    assert (str(transfer.error), scene.starts) == ("given up", [])


def test_the_end_is_told_once(scene: Scene) -> None:
    states: list[bool] = []
    context = TransferContext(scene.hub, scene.cache, COMMIT)
    transfer = BlobDownload(scene.file, context, lambda: states.append(transfer.ended))
    transfer.run()
    transfer.cancel("given up")
    assert (states, transfer.error) == ([False, True], None), "the first answer, and the end"


def test_a_lock_that_another_process_has_is_said_every_15_seconds(
    scene: Scene, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.tick = 4.0
    context = TransferContext(scene.hub, scene.cache, COMMIT, Retrying(clock=clock.clock, listen=scene.events.append))
    transfer = BlobDownload(scene.file, context)
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
