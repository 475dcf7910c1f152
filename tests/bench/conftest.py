"""The options, the device above every figure, and the origin that all downloads come from."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.device import device_name
from tests.bench.fetch.origin import Origin
from tests.bench.initialise.models import MODELS

ROOT = Path(__file__).parents[2]
_SAVED = ROOT / ".benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Those of `nox -s bench -- ...` beside pytest-benchmark's own."""
    group = parser.getgroup("bench", "bench of this repository")
    group.addoption("--compare", action="store_true", help="show the last saved run beside this one")
    group.addoption("--rounds", type=_positive, help="rounds of each race of `-k initialise` (default: a few, by race)")
    group.addoption(
        "--models", type=_models, default=list(MODELS), help=f"for `-k initialise`, by comma: {','.join(MODELS)} (all)"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads its options
def pytest_configure(config: pytest.Config) -> None:
    """`--compare` is pytest-benchmark's own comparison, where there is something to compare with."""
    if config.option.compare and _earlier():
        config.option.benchmark_compare = True


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The device, and whether a comparison can be made."""
    lines = [f"bench device: {device_name()}"]
    if config.option.compare and not _earlier():
        lines.append(f"--compare: no earlier run is saved in {_SAVED}; this one will be, and the next can be compared")
    return lines


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """Saved runs name the device too."""
    machine_info["device"] = device_name()


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    """A static origin whose folder lies on the disk of the checkout, as the caches will."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache) as folder:
        shown = Path(folder) / "shown"
        shown.mkdir()
        with Origin(shown, Path(folder) / "log") as origin:
            yield origin


def _earlier() -> bool:
    return any(_SAVED.rglob("*.json"))


def _models(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - MODELS.keys()):
        raise argparse.ArgumentTypeError(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    return names


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return int(text)
