"""A contender's process: a fresh interpreter with a home of its own and a clean environment, that calls when told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.schema import Patience
from tests.support.environment import clean_environment

SCRIPT = Path(__file__).with_name("contender.py")
_OUTPUT = 4000  # characters of it that are kept


@dataclass(frozen=True)
class CallSpec:
    """The call that a process makes, and its conditions. `home` becomes its HF_HOME."""

    contender: str
    repo: str
    endpoint: str
    home: Path
    revision: str = "main"
    files_only: bool = False
    policy: Patience = field(default_factory=Patience)
    offline: bool = False
    token: str | None = None
    disk: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """For the process."""
        return json.dumps({**asdict(self), "home": str(self.home)})


class Process:
    """`with Process(spec, folder) as process:` imports its libraries, then waits for `go`; killed at the end."""

    def __init__(self, spec: CallSpec, folder: Path) -> None:
        self._folder = folder
        spec.home.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True)
        (folder / "call.json").write_text(spec.as_json(), encoding="utf-8")
        with (folder / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT), str(folder)],
                env=environment(spec, folder.parent / "user_cache"),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()

    @property
    def ready(self) -> bool:
        """True if its libraries are imported."""
        return (self._folder / "ready").exists()

    @property
    def ended(self) -> bool:
        """True if it has ended, for any reason."""
        return self._process.poll() is not None

    def go(self) -> None:
        """Make the call now."""
        with contextlib.suppress(BrokenPipeError):  # it crashed before: its result says so
            os.write(self._process.stdin.fileno() if self._process.stdin else -1, b"\n")

    def kill(self) -> None:
        """End it and whatever processes it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def result(self, killed_at: float | None = None) -> dict[str, Any]:
        """Return its result; without one "hung" if it was killed at the cap, else "crashed", with its last line."""
        output = (self._folder / "output.txt").read_text(encoding="utf-8", errors="replace")[-_OUTPUT:]
        file = self._folder / "result.json"
        if file.exists():
            return {**json.loads(file.read_text(encoding="utf-8")), "output": output}
        said = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
        outcome = "crashed" if killed_at is None else f"hung (killed at {killed_at:g} s)"
        seconds = killed_at or 0.0
        return {"outcome": outcome, "message": said, "attempts": None, "seconds": seconds, "output": output}


def environment(spec: CallSpec, user_cache: Path) -> dict[str, str]:
    """Return a clean environment with the settings that the call asks for."""
    seconds = str(max(1, round(spec.policy.stall)))
    variables = {"HF_TOKEN": spec.token} if spec.token else {}
    variables |= {"HF_HUB_OFFLINE": "1"} if spec.offline else {}
    variables |= {
        "HF_ENDPOINT": spec.endpoint,
        "HF_HUB_DOWNLOAD_TIMEOUT": seconds,
        "HF_HUB_ETAG_TIMEOUT": seconds,
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(user_cache),
    }
    return clean_environment(str(spec.home), **variables, **spec.environment)
