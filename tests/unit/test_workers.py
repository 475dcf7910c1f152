"""One large file over several connections at a time."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from phaita_loader._cache.repo import RepoCache
from phaita_loader._transfer.context import TransferContext
from phaita_loader.errors import AccessDenied
from phaita_loader.hub import Body
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Policy
from phaita_loader.retry import Retrying, Transient
from tests.unit.fakes import COMMIT, SIGNED, Asked, FakeHub, FakeResponse, Gives, listed, noise
from tests.unit.scene import download

NAME = "model.safetensors"
DATA = noise(17 << 20)  # a little more than a file has to have for several connections
FILE = listed(NAME, DATA)
CUT = ConnectionResetError("reset")


class Together(FakeHub):
    """A Hub whose bodies all wait at their first byte until as many as expected are open."""

    def __init__(self, cache_dir: Path, expected: int) -> None:
        super().__init__(cache_dir, chunk=1 << 18)
        self.repo[NAME] = DATA
        self.most, self._open, self._expected = 0, 0, expected
        self._changed = threading.Condition()

    def respond(self, data: bytes, answer: Gives) -> FakeResponse:
        response = super().respond(data, answer)
        response.on_begin = lambda: self._count(1)
        response.on_close = lambda: self._count(-1)
        return response

    def _count(self, more: int) -> None:
        with self._changed:
            self._open += more
            self.most = max(self.most, self._open)
            self._changed.notify_all()
            if more > 0:
                assert self._changed.wait_for(lambda: self.most >= self._expected, 10)


def context_of(hub: FakeHub, connections: int = 4) -> TransferContext:
    cache = RepoCache(hub.cache_dir, "org/name")
    cache.prepare(COMMIT)
    return TransferContext(hub, cache, COMMIT, Retrying(Policy(connections=connections)))


def brought(hub: FakeHub, connections: int = 4) -> bytes:
    hub.repo[NAME] = DATA
    context = context_of(hub, connections)
    download([FILE], context)
    return context.cache.blob(FILE).read_bytes()


@pytest.mark.parametrize("connections", [1, 3, 4])
def test_as_many_connections_as_the_policy_says(tmp_path: Path, connections: int) -> None:
    hub = Together(tmp_path, expected=connections)
    assert brought(hub, connections) == DATA
    assert (hub.most, hub.sent[NAME]) == (connections, len(DATA))


def test_the_bound_holds_over_all_files(tmp_path: Path) -> None:
    hub = Together(tmp_path, expected=3)
    hub.repo = {f"{n}.bin": noise(17 << 20, n) for n in range(3)}
    context = context_of(hub, connections=3)
    download([listed(path, data) for path, data in hub.repo.items()], context)
    assert hub.most == 3


def test_one_signed_location_serves_all(tmp_path: Path) -> None:
    hub = Together(tmp_path, expected=4)
    hub.answers[NAME].extend([Gives(location=SIGNED)] * 40)
    assert brought(hub) == DATA
    assert [location for _, _, location in hub.opened].count(None) == 1


def test_drops_on_every_connection_cost_no_byte(hub: FakeHub) -> None:
    chance = random.Random(7)
    hub.answers[NAME].extend(Gives(chance.randrange(20_000, 900_000), CUT) for _ in range(60))
    assert brought(hub) == DATA
    assert hub.sent[NAME] == len(DATA)


@pytest.mark.parametrize(
    "refusal", [Transient("503", retry_after=5.0), Transient("reset"), Gives(0)], ids=["503", "reset", "nothing"]
)
def test_a_server_that_refuses_more_connections_is_asked_for_fewer(hub: FakeHub, refusal: Gives | Exception) -> None:
    class OneAtATime(FakeHub):
        busy = threading.Lock()

        def answer(self, asked: Asked) -> Body:
            if not self.busy.acquire(blocking=False):
                if isinstance(refusal, Exception):
                    raise refusal
                self.answers[NAME].appendleft(refusal)
            return super().answer(asked)

        def respond(self, data: bytes, answer: Gives) -> FakeResponse:
            response = super().respond(data, answer)
            if answer is not refusal:
                response.on_close = self.busy.release
            return response

    alone = OneAtATime(hub.cache_dir)
    assert brought(alone) == DATA
    assert alone.sent[NAME] == len(DATA)


def test_a_server_that_ignores_ranges_gets_one_connection(hub: FakeHub) -> None:
    hub.answers[NAME].append(Gives(ranges=False))
    assert brought(hub) == DATA
    assert len(hub.opened) == 1


def test_a_server_that_ignores_some_ranges_does_no_harm(hub: FakeHub) -> None:
    hub.answers[NAME].extend([Gives(), Gives(ranges=False), Gives(), Gives(ranges=False)])
    assert brought(hub) == DATA


def test_what_one_connection_is_denied_ends_all_at_once(hub: FakeHub) -> None:
    hub.answers[NAME].extend([Gives(silent=True), AccessDenied("no longer")])
    with pytest.raises(AccessDenied):
        brought(hub)


def test_a_wrong_digest_of_bytes_from_several_connections(hub: FakeHub) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    hub.answers[NAME].extend([Gives(data=wrong)] * 40)
    with pytest.raises(Transient, match="wrong sha256"):
        brought(hub)
    assert not RepoCache(hub.cache_dir, "org/name").blob(FILE).exists()


class Stuck(FakeHub):
    """A Hub whose second open returns only when told to; the first body waits until it has begun."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(cache_dir)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def answer(self, asked: Asked) -> Body:
        if len(self.opened) == 1:
            self.opened.append(("stuck", 0, None))
            self.reached.set()
            assert self.go_on.wait(10)
            raise Transient("too late for anybody")
        return super().answer(asked)

    def respond(self, data: bytes, answer: Gives) -> FakeResponse:
        response = super().respond(data, answer)
        response.on_begin = self._wait_for_the_second
        return response

    def _wait_for_the_second(self) -> None:
        assert self.reached.wait(10)


def test_a_connection_that_gets_no_answer_is_done_without(tmp_path: Path) -> None:
    hub = Stuck(tmp_path)
    hub.repo[NAME] = DATA
    cache = RepoCache(hub.cache_dir, "org/name")
    cache.prepare(COMMIT)
    download([FILE], TransferContext(hub, cache, COMMIT, Retrying(Policy(connect=0.15))))
    assert cache.blob(FILE).read_bytes() == DATA
    hub.go_on.set()


class LyingLocks(RepoCache):
    """A cache on a network file system without locks: every thread gets the lock."""

    def lock(self, file: RemoteFile) -> Path:
        return super().lock(file).with_suffix(f".{threading.get_ident()}")


def test_two_writers_whose_locks_lie_end_with_the_right_blob(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    together = threading.Barrier(2)

    def write(chunk: int) -> None:
        hub = FakeHub(tmp_path, chunk=chunk)
        hub.repo[NAME] = DATA
        hub.answers[NAME].extend(Gives(3 << 20, CUT) for _ in range(5))
        cache = LyingLocks(hub.cache_dir, "org/name")
        cache.prepare(COMMIT)
        together.wait(10)
        try:
            download([FILE], TransferContext(hub, cache, COMMIT, Retrying(Policy())))
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(chunk,)) for chunk in (1 << 16, 1 << 17)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert errors == []
    cache = RepoCache(tmp_path, "org/name")
    assert cache.blob(FILE).read_bytes() == DATA
    assert not list(cache.ours.glob("*/data"))
