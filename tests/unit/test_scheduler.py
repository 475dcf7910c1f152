from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from phaita_loader._cache.repo import RepoCache
from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.partial import bytes_present
from phaita_loader._transfer.scheduler import Result, download_all
from phaita_loader.errors import Corrupt, NotFound
from phaita_loader.hub import Body
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Event, Listener, Received
from phaita_loader.retry import Retrying, Transient
from tests.unit.fakes import COMMIT, SIGNED, Asked, FakeClock, FakeHub, Gives, listed, noise
from tests.unit.scene import NEVER, download

CUT = ConnectionResetError("reset")
REPO = {f"{n}.bin": noise(5_000, n) for n in range(6)}


@pytest.fixture
def context(hub: FakeHub) -> TransferContext:
    hub.repo = dict(REPO)
    cache = RepoCache(hub.cache_dir, "org/name")
    cache.prepare(COMMIT)
    return TransferContext(hub, cache, COMMIT, Retrying(Policy(connect=5.0)))


def run(context: TransferContext, *paths: str, until: Deadline = NEVER, deadline: Deadline = NEVER) -> None:
    before = set(threading.enumerate())
    try:
        download([listed(path, REPO[path]) for path in paths or REPO], context, until, deadline)
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
            assert not thread.is_alive(), "an attempt that is over leaves no thread behind"


def held(context: TransferContext) -> set[str]:
    return {path for path, data in REPO.items() if context.cache.verify_blob(listed(path, data), "size")}


def paced(context: TransferContext, clock: FakeClock, tick: float) -> TransferContext:
    """Return the context with a clock that advances with each reading."""
    clock.tick = tick
    return replace(context, retrying=replace(context.retrying, clock=clock.clock))


def heard(context: TransferContext, listen: Listener) -> TransferContext:
    """Return the context with another listener."""
    return replace(context, retrying=replace(context.retrying, listen=listen))


def test_all_files_arrive(context: TransferContext, hub: FakeHub) -> None:
    run(context)
    assert held(context) == set(REPO)
    assert sorted(path for path, _, _ in hub.opened) == sorted(REPO)


def test_nothing_to_do(context: TransferContext, hub: FakeHub) -> None:
    download([], context)
    assert hub.opened == []


def test_what_came_is_counted_over_all_files(context: TransferContext, hub: FakeHub) -> None:
    hub.answers["0.bin"].extend([Gives(2_000, CUT), Gives(0)])
    with pytest.raises(Transient) as caught:
        run(context, "0.bin", "1.bin")
    assert caught.value.received == 7_000
    assert held(context) == {"1.bin"}


def test_a_failed_file_lets_those_under_way_go_on(context: TransferContext, hub: FakeHub) -> None:
    hub.answers["0.bin"].append(Gives(5_000, silent=True))
    hub.answers["1.bin"].append(Transient("refused"))
    hub.answers["2.bin"].append(Gives(5_000, location=SIGNED))
    with pytest.raises(Transient, match="refused"):
        run(context)
    assert "0.bin" in held(context)
    assert "1.bin" not in held(context)


@pytest.mark.parametrize("failure", [Transient("refused"), NotFound("no such file")])
def test_a_repo_that_does_not_answer_is_not_asked_for_all_its_files(
    context: TransferContext, hub: FakeHub, failure: Exception
) -> None:
    hub.answers["0.bin"].append(failure)
    with pytest.raises(type(failure)):
        run(context)
    assert [path for path, _, _ in hub.opened] == ["0.bin"]


def test_a_permanent_error_ends_the_others_at_once(context: TransferContext, hub: FakeHub) -> None:
    hub.answers["0.bin"].append(Gives(100, silent=True))
    hub.answers["1.bin"].append(NotFound("no such file"))
    with pytest.raises(NotFound):
        run(context, "0.bin", "1.bin")
    file = listed("0.bin", REPO["0.bin"])
    assert bytes_present(context.cache.ours, [file]).total() in {0, 100}
    with FileLock(context.cache.lock(file), timeout=0):
        pass


WRONG = Transient("wrong", final=Corrupt, creditable=False)
FAILURES = [
    # A wrong digest outweighs what progress would excuse, and the longest wait is the one to keep.
    (
        [Transient("reset"), Transient("wrong", final=Corrupt, creditable=False), Transient("503", retry_after=9)],
        "wrong",
    ),
    ([Transient("reset"), Transient("503", retry_after=3.0), Transient("429", retry_after=9.0)], "429"),
]


@pytest.mark.parametrize(("failures", "told"), FAILURES)
def test_of_several_failures_the_gravest_is_told(
    context: TransferContext, hub: FakeHub, failures: list[Exception], told: str
) -> None:
    everyone = threading.Barrier(len(failures))

    class Together(FakeHub):
        def answer(self, asked: Asked) -> Body:
            if asked.file.path != "5.bin":
                everyone.wait(10)
            return super().answer(asked)

    together = Together(hub.cache_dir)
    together.repo = REPO
    for number, failure in enumerate(failures):
        together.answers[f"{number}.bin"].append(failure)
    with pytest.raises(Transient, match=told):
        run(
            TransferContext(together, context.cache, COMMIT, Retrying(Policy())),
            "5.bin",
            *[f"{n}.bin" for n in range(len(failures))],
        )


@pytest.mark.parametrize(
    "ends", [{"until": Deadline(1010.0)}, {"deadline": Deadline(1010.0)}], ids=["until", "deadline"]
)
def test_time_ends_what_no_socket_timeout_ends(
    context: TransferContext, hub: FakeHub, clock: FakeClock, ends: dict[str, Deadline]
) -> None:
    hub.answers["0.bin"].append(Gives(100, silent=True))
    with pytest.raises(Transient, match="not done in time"):
        run(paced(context, clock, tick=2.5), "0.bin", **ends)


def test_an_open_that_hangs_is_given_up_before_the_attempt_is(
    context: TransferContext, tmp_path: Path, clock: FakeClock
) -> None:
    go_on = threading.Event()

    class Stuck(FakeHub):
        def answer(self, asked: Asked) -> Body:
            assert go_on.wait(10)
            raise Transient("too late for anybody")

    stuck = paced(replace(context, hub=Stuck(tmp_path)), clock, tick=7.0)
    with pytest.raises(Transient, match=r"no answer for 0\.bin within 20 s"):
        download([listed("0.bin", REPO["0.bin"])], stuck, Deadline(1300.0))
    go_on.set()


class ReleasesLate(FakeClock):
    """A clock on which the other process keeps the lock for longer than the attempt may take."""

    lock: FileLock

    def _now(self) -> float:
        if self.at > 4000.0:
            self.lock.release()
            self.tick = 0.0
        return super()._now()


def test_waiting_for_another_process_costs_no_time(context: TransferContext) -> None:
    clock, file = ReleasesLate(), listed("0.bin", REPO["0.bin"])
    clock.lock = FileLock(context.cache.lock(file), thread_local=False)
    context.cache.lock(file).parent.mkdir(parents=True, exist_ok=True)
    clock.lock.acquire()
    run(paced(context, clock, tick=1000.0), "0.bin", until=Deadline(2500.0))
    assert held(context) == {"0.bin"}


def test_the_deadline_holds_while_waiting_for_another_process(context: TransferContext, clock: FakeClock) -> None:
    file = listed("0.bin", REPO["0.bin"])
    context.cache.lock(file).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(context.cache.lock(file)), pytest.raises(Transient):
        run(paced(context, clock, tick=30.0), "0.bin", deadline=Deadline(1060.0))


def test_what_ended_just_then_is_counted_once(context: TransferContext, hub: FakeHub, clock: FakeClock) -> None:
    hub.answers["0.bin"].append(Gives(3_000, silent=True))
    came: list[int] = []

    def listen(event: Event) -> None:
        came.extend([event.count] if isinstance(event, Received) else [])
        clock.tick = 2.5 if sum(came) == 8_000 else 0.0  # no time passes before all that will come is there

    with pytest.raises(Transient) as caught:
        run(heard(paced(context, clock, tick=0.0), listen), "1.bin", "0.bin", until=Deadline(1020.0))
    assert caught.value.received == 8_000


def test_a_failure_does_not_wait_for_files_that_wait_for_another_process(
    context: TransferContext, hub: FakeHub
) -> None:
    locked = listed("5.bin", REPO["5.bin"])
    hub.answers["1.bin"].append(Transient("refused"))
    with FileLock(context.cache.lock(locked)), pytest.raises(Transient, match="refused"):
        run(context, "0.bin", "5.bin", "1.bin")


class Large(FakeHub):
    """A Hub with one file of several MiB, whose first connection brings two of them and then stalls."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(cache_dir)
        self.repo["large.bin"] = noise(5 << 20)
        self.file = listed("large.bin", self.repo["large.bin"])
        self.answers["large.bin"].append(Gives(2 << 20, silent=True))


@pytest.fixture
def large(tmp_path: Path) -> Large:
    return Large(tmp_path / "large")


def timed(hub: Large, clock: FakeClock, after: int) -> TransferContext:
    """Return a context with a clock that starts to advance once so many bytes have arrived."""
    cache = RepoCache(hub.cache_dir, "org/name")
    cache.prepare(COMMIT)
    came: list[int] = []

    def listen(event: Event) -> None:
        came.extend([event.count] if isinstance(event, Received) else [])
        clock.tick = 2.5 if sum(came) == after else 0.0

    return TransferContext(hub, cache, COMMIT, Retrying(Policy(timeout=20.0), clock=clock.clock, listen=listen))


def test_an_attempt_that_brought_enough_goes_on_over_a_new_connection(large: Large, clock: FakeClock) -> None:
    context = timed(large, clock, after=2 << 20)
    download([large.file], context, Deadline(1020.0))
    assert context.cache.verify_blob(large.file, "full")
    assert [start for _, start, _ in large.opened] == [0, 2 << 20]


def test_without_another_credit_it_ends_there(large: Large, clock: FakeClock) -> None:
    large.answers["large.bin"].append(Gives(1000, silent=True))
    context = timed(large, clock, after=2 << 20)
    clock.tick = 0.0
    came: list[int] = []

    def listen(event: Event) -> None:
        came.extend([event.count] if isinstance(event, Received) else [])
        clock.tick = 2.5 if sum(came) >= 2 << 20 else 0.0  # time passes in the silences alone

    with pytest.raises(Transient, match="not done in time") as caught:
        download([large.file], heard(context, listen), Deadline(1020.0))
    assert (caught.value.received, bytes_present(context.cache.ours, [large.file]).total()) == (1000, (2 << 20) + 1000)
    assert caught.value.exempt_seconds >= 20.0


def test_time_that_digests_take_is_not_the_attempts(large: Large, clock: FakeClock) -> None:
    class Slow(RepoCache):
        """A cache on a slow disk, with a blob of the right size."""

        def verify_blob(self, file: RemoteFile, verify: str) -> bool:
            clock.tick = 2.5
            while clock.at < 1300.0:
                threading.Event().wait(0.001)
            clock.tick = 0.0
            return False

    large.answers.clear()
    cache = Slow(large.cache_dir, "org/name")
    cache.prepare(COMMIT)
    download(
        [large.file], TransferContext(large, cache, COMMIT, Retrying(Policy(), clock=clock.clock)), Deadline(1020.0)
    )
    assert cache.blob(large.file).read_bytes() == large.repo["large.bin"]


def test_the_result_names_the_files_that_are_still_missing(context: TransferContext, hub: FakeHub) -> None:
    files = [listed(path, REPO[path]) for path in ("0.bin", "1.bin")]
    hub.answers["1.bin"].append(Transient("refused"))
    result = download_all(files, context, NEVER, NEVER)
    assert isinstance(result.failure, Transient)
    assert result.missing == (files[1],)
    assert download_all(result.missing, context, NEVER, NEVER) == Result(())
    assert held(context) == {"0.bin", "1.bin"}
