"""One file of one repo on its way."""

from __future__ import annotations

from filelock import FileLock

from phaita_loader._cache.repo import RepoCache
from phaita_loader._transfer.blob import BlobTransfer
from phaita_loader._transfer.context import Route
from phaita_loader._transfer.leftovers import present
from phaita_loader.policy import Policy
from phaita_loader.progress import Event
from tests.unit.fakes import COMMIT, FakeHub, Gives, listed, noise

NAME = "model.safetensors"
DATA = noise(200_000)
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
