"""The download of one file of one repo."""

from __future__ import annotations

from collections.abc import Sequence

from filelock import FileLock

from phaita_loader._cache.repo import RepoCache
from phaita_loader._transfer.blob import BlobDownload
from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.partial import bytes_present
from phaita_loader._transfer.scheduler import download_all
from phaita_loader.listing import RemoteFile
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Event
from phaita_loader.retry import Retrying
from tests.unit.fakes import COMMIT, FakeHub, Gives, listed, noise

NAME = "model.safetensors"
DATA = noise(200_000)
CUT = ConnectionResetError("reset")
NEVER = Deadline()


def download(
    files: Sequence[RemoteFile], context: TransferContext, until: Deadline = NEVER, deadline: Deadline = NEVER
) -> None:
    """Make one attempt at these files; raise the failure that ended it."""
    result = download_all(files, context, until, deadline)
    if result.failure is not None:
        raise result.failure
    assert result.missing == ()


class Scene:
    """A repo of one file, its cache, and the events of its downloads."""

    def __init__(self, hub: FakeHub, data: bytes = DATA) -> None:
        self.hub, self.file = hub, listed(NAME, data)
        hub.repo[NAME] = data
        self.events: list[Event] = []
        self.cache = RepoCache(hub.cache_dir, "org/name")
        self.cache.prepare(COMMIT)
        self.blob = self.cache.blob(self.file)

    def transfer(self, *answers: Gives | Exception) -> BlobDownload:
        self.hub.answers[NAME].extend(answers)
        retrying = Retrying(Policy(connections=1), listen=self.events.append)
        return BlobDownload(self.file, TransferContext(self.hub, self.cache, COMMIT, retrying))

    def run(self, *answers: Gives | Exception) -> BlobDownload:
        transfer = self.transfer(*answers)
        transfer.run()
        assert transfer.ended
        return transfer

    @property
    def starts(self) -> list[int]:
        return [start for _, start, _ in self.hub.opened]

    @property
    def present(self) -> int:
        return bytes_present(self.cache.ours, [self.file]).total()

    def assert_unlocked(self) -> None:
        with FileLock(self.cache.lock(self.file), timeout=0):
            pass
