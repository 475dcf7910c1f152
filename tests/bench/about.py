"""The head of every report: date, machine, versions and command."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import pytest


def about(config: pytest.Config, packages: Sequence[str], tools: Sequence[str] = ()) -> dict[str, str]:
    """`tools` are further versions, as text."""
    versions = [f"Python {platform.python_version()}", *map(_version, packages), *tools]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": ", ".join(versions),
        "command": " ".join(["pytest", *config.invocation_params.args]),
    }


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
