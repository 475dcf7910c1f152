"""Contenders one after the other, round by round, each in a fresh process with an empty cache.

pytest-benchmark does not fit: it calls a function in its own process, one contender after the other, so that there are
no CPU seconds and no memory of one call, and a machine that slows down in between spoils the ratio.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from tests.hub import Commit, LocalHub, Repo
from tests.support.environment import clean_environment

from .origin import Origin

REPO = "bench/model"
FILE = "model.safetensors"
_SCRIPT = Path(__file__).with_name("contender.py")
_SECONDS = 300.0
_COMMANDS = {"curl_then_openssl": ("curl", "openssl"), "curl_to_null": ("curl",), "aria2c": ("aria2c",)}


@dataclass(frozen=True)
class Run:
    """The cost of one call.

    seconds, cpu  of wall and of processor, its children's included
    peak          the most bytes of memory that its process held
    found         what it said of its result
    requests      those that the Hub saw
    sent          body bytes of each of the static origin's answers
    """

    seconds: float
    cpu: float
    peak: int
    found: dict[str, Any]
    requests: int = 0
    sent: tuple[int, ...] = ()


Races = Mapping[str, Sequence[Run]]


def mid(runs: Sequence[Run], field: str) -> float:
    """The median of a field."""
    return float(median(getattr(run, field) for run in runs))


@dataclass(frozen=True)
class Course:
    """A repo on a local Hub whose large files come from a static origin; `digests` are the sha256 of its files."""

    hub: LocalHub
    origin: Origin
    digests: Mapping[str, str]

    def race(self, contenders: Sequence[str], rounds: int) -> Races:
        """All that are installed, `rounds` times, interleaved."""
        runs: dict[str, list[Run]] = {name: [] for name in contenders if _installed(name)}
        for _ in range(rounds):
            for name in runs:
                runs[name].append(self.run(name))
        return runs

    def run(self, contender: str, repo: str = REPO, **words: str) -> Run:
        """One fresh process; what it brought is digested after its clock stopped, and then removed.

        `words` are further ones of the contender's job.
        """
        with tempfile.TemporaryDirectory(dir=self.origin.folder.parent) as folder:
            requests, sent = len(self.hub.seen), len(self.origin.sent())
            job = {"contender": contender, "repo": repo, "folder": folder, **self._file(), **words}
            run = _run(job, self.hub.url)
            if "path" in run.found:
                _check(Path(run.found["path"]), self.digests)
            return replace(run, requests=len(self.hub.seen) - requests, sent=tuple(self.origin.sent()[sent:]))

    def _file(self) -> dict[str, str]:
        """The one large file, if there is one, for those that do not speak with the Hub."""
        digest = self.digests.get(FILE, "")
        path = place(REPO, digest)
        url, source = f"{self.hub.public_cdn_url}/{path}", self.origin.folder / path
        return {"file": FILE, "digest": digest, "url": url, "source": str(source)}


@contextmanager
def course(origin: Origin, files: Mapping[str, bytes | Path], *, options: str = "", **access: bool) -> Iterator[Course]:
    """A course for these files; `options` are the origin's, such as `/rate=5000000`, `access` the repo's."""
    repo = Repo(REPO, [Commit(files)], **access)  # type: ignore[arg-type]  # gated, private
    digests = {path: blob.sha256 or hashlib.sha256(blob.read()).hexdigest() for path, blob in repo.files().items()}
    for path, source in files.items():
        if isinstance(source, Path):
            origin.show(source, place(REPO, digests[path]))
    with LocalHub([repo]) as hub:
        hub.public_cdn_url = origin.url + options
        yield Course(hub, origin, digests)


def place(repo: str, digest: str) -> str:
    """Return the path that the local Hub's Location headers give a large file."""
    return f"repos/{repo}/{digest}"


def _installed(contender: str) -> bool:
    return all(shutil.which(command) for command in _COMMANDS.get(contender, ()))


def _run(job: dict[str, str], endpoint: str) -> Run:
    with subprocess.Popen(
        [sys.executable, "-P", str(_SCRIPT), json.dumps(job)],
        env=clean_environment(job["folder"], HF_ENDPOINT=endpoint),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            said, _ = process.communicate("go\n", timeout=_SECONDS)
        except BaseException:
            process.kill()
            raise
    assert (ready, process.returncode) == ("ready\n", 0), f"{job['contender']} failed"
    return Run(**json.loads(said))


def _check(path: Path, digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        with (path if path.is_file() else path / name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest, name
