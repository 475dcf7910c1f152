"""A clock that only moves when told to, and a Hub whose files and faults are values in memory."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from phaita_loader.hub import Body, Hub
from phaita_loader.listing import Listing, RemoteFile, listed_file
from phaita_loader.policy import Policy
from phaita_loader.retry import Clock
from tests.support.files import safetensors as safetensors

COMMIT, OTHER_COMMIT = "c" * 40, "d" * 40
SIGNED = "https://cdn.test/blob?X-Amz-Signature=5ec2e7"
AT_ONCE = Policy(attempts=1)
_SHORT_WAIT = 0.002  # real seconds: threads beside the test need some


@dataclass
class FakeClock:
    """A clock that `sleep` advances, and each reading by `tick` seconds; a wait for an event is a short real one."""

    at: float = 1000.0
    tick: float = 0.0
    chance: float = 0.5
    slept: list[float] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(self._now, self._sleep, lambda: self.chance, self._wait)

    def _now(self) -> float:
        self.at += self.tick
        return self.at

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    def _wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(min(seconds, _SHORT_WAIT))


@dataclass(frozen=True)
class Gives:
    """One answer to a GET: `count` bytes (None: all that are left), then `error`, or the end of the body."""

    count: int | None = None
    error: Exception | None = None
    location: str | None = None
    ranges: bool = True
    data: bytes | None = None
    silent: bool = False


@dataclass(frozen=True)
class Asked:
    """A GET for the bytes [start, end) of a file (`end` None: to its end); `location` is an earlier body's."""

    file: RemoteFile
    start: int
    end: int | None
    location: str | None


class FakeResponse:
    """A response in memory; a silent one blocks after its bytes until it is shut down.

    on_begin, on_close: called before the first read and after the close.
    """

    status = 206

    def __init__(self, data: bytes, answer: Gives, chunk: int) -> None:
        self._data, self._answer, self._chunk, self._at = data, answer, chunk, 0
        self._shut = threading.Event()
        self.headers: dict[str, str] = {}
        self.begun = self.closed = False
        self.on_begin: Callable[[], object] = lambda: None
        self.on_close: Callable[[], object] = lambda: None

    def read1(self, amt: int, *, decode_content: bool) -> bytes:
        assert not decode_content, "urllib3 must not unpack a file that is to be digested"
        if not self.begun:
            self.begun = True
            self.on_begin()
        piece = self._data[self._at : self._at + min(amt, self._chunk)]
        self._at += len(piece)
        if piece:
            return piece
        if self._answer.silent:
            assert self._shut.wait(10), "nobody ended the silent body"
            raise ConnectionAbortedError("shut down")
        if self._answer.error is not None:
            raise self._answer.error
        return b""

    def shutdown(self) -> None:
        self._shut.set()

    def drain_conn(self) -> None:
        raise AssertionError("a body is closed here, as its connection is never used again")

    def close(self) -> None:
        self.closed = True
        self.on_close()


class FakeHub(Hub):
    """A Hub that serves `repo`; `answers[path]` and `listings` are used up first, an exception among them is raised.

    A test that needs more overrides `answer`, or `respond`.
    """

    def __init__(self, cache_dir: Path, *, offline: bool = False, chunk: int = 1 << 16) -> None:
        super().__init__("https://hub.test", token=False, offline=offline, cache_dir=cache_dir)
        self.repo: dict[str, bytes] = {}
        self.commit = COMMIT
        self.answers: defaultdict[str, deque[Gives | Exception]] = defaultdict(deque)
        self.listings: deque[Listing | Exception] = deque()
        self.asked: list[str] = []
        self.opened: list[tuple[str, int, str | None]] = []
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.bodies: list[Body] = []
        self.responses: list[FakeResponse] = []
        self._chunk = chunk
        self._mutex = threading.Lock()

    def listing(self, repo_id: str, revision: str, *, timeout: float, **_: object) -> Listing:
        self.asked.append(revision)
        answer = self.listings.popleft() if self.listings else listing_of(self.repo, self.commit)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def open_file(
        self,
        repo_id: str,
        commit: str,
        file: RemoteFile,
        start: int,
        end: int | None = None,
        *,
        location: str | None,
        **limits: float,
    ) -> Body:
        return self.answer(Asked(file, start, end, location))

    def answer(self, asked: Asked) -> Body:
        path, start, end = asked.file.path, asked.start, asked.end
        self.opened.append((path, start, asked.location))
        answers = self.answers[path]
        answer = answers.popleft() if answers else Gives()
        if isinstance(answer, Exception):
            raise answer
        begin = start if answer.ranges else 0
        whole = self.repo[path] if answer.data is None else answer.data
        stop = len(whole) if end is None or not answer.ranges else end
        data = whole[begin : stop if answer.count is None else min(stop, begin + answer.count)]
        with self._mutex:
            self.sent[path] += len(data)
        response = self.respond(data, answer)
        body = Body(begin, "cdn.test", response, answer.location, not answer.ranges)
        self.responses.append(response)
        self.bodies.append(body)
        return body

    def respond(self, data: bytes, answer: Gives) -> FakeResponse:
        return FakeResponse(data, answer, self._chunk)


def listing_of(repo: Mapping[str, bytes], commit: str = COMMIT) -> Listing:
    """Return the Hub's listing of a commit: weights by their sha256, small files by git's blob id."""
    return Listing(commit, tuple(listed(path, data) for path, data in repo.items()))


def listed(path: str, data: bytes) -> RemoteFile:
    lfs = path.endswith((".safetensors", ".bin"))
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return listed_file(path, len(data), blob, hashlib.sha256(data).hexdigest() if lfs else None)


def noise(size: int, seed: int = 1) -> bytes:
    """Return pseudo-random bytes: the same for the same seed, and no two parts of them alike."""
    return hashlib.shake_128(seed.to_bytes(4, "little")).digest(size)
