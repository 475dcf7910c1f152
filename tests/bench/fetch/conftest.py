"""The files under the stopwatch, and the table that a session leaves."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.about import about

from .origin import Origin
from .table import Table

ROOT = Path(__file__).parents[3]
_TABLE = pytest.StashKey[Table]()
_PACKAGES = ("phaita-loader", "huggingface_hub", "urllib3", "httpx2")


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    """The table that collects the rows."""
    return request.config.stash.setdefault(_TABLE, Table(about(request.config, _PACKAGES, _tools())))


@pytest.fixture(scope="session")
def made(origin: Origin) -> Callable[[int], Path]:
    """A file of so many bytes, no two blocks of it alike; made once."""

    def make(size: int) -> Path:
        path = origin.folder.parent / f"{size}.bytes"
        if not path.exists():
            block = random.Random(0).randbytes(1 << 20)
            with path.open("wb") as file:
                for number in range(size >> 20):
                    file.write(number.to_bytes(8) + block[8:])
                file.write(block[: size % (1 << 20)])
                file.flush()
                os.fsync(file.fileno())  # or it would be written while others are timed
        return path

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, and its report on disk."""
    table = config.stash.get(_TABLE, None)
    if table is None or not table.rows:
        return
    table.write(ROOT / "reports")
    terminalreporter.section("fetch")
    for line in (*table.lines(), "report: reports/fetch.md, reports/fetch.json"):
        terminalreporter.write_line(line)


def _tools() -> list[str]:
    return [_version(command) for command in ("curl", "openssl", "aria2c")]


def _version(command: str) -> str:
    """A command and its version."""
    if shutil.which(command) is None:
        return f"no {command}"
    asked = [command, "version" if command == "openssl" else "--version"]
    found = re.search(r"\d+\.\S+", subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    return f"{command} {found[0] if found else '?'}"
