"""The models under the stopwatch: fetched once from the local Hub into a cache of their own, outside every timing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from phaita_loader import Hub, ModelRequest, Snapshot, fetch
from tests.hub import LocalHub
from tests.hub.replicas import replica

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def pytest_report_header() -> str:
    """The device stands above every figure."""
    if DEVICE == "cuda":
        return f"bench device: {torch.cuda.get_device_name()}"
    return "bench device: CPU: no CUDA device was found"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """Saved runs name the device too."""
    machine_info["device"] = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU: no CUDA device was found"


def synchronise() -> None:
    """Both ends of a timing wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """deberta-v3-base at its true size (random weights), complete in a cache."""
    cache: Path = tmp_path_factory.mktemp("cache")
    with LocalHub([replica("microsoft/deberta-v3-base", size="real")]) as hub:
        yield fetch(ModelRequest("microsoft/deberta-v3-base"), hub=Hub(hub.url, cache_dir=cache))


@pytest.fixture(scope="session")
def offline(snapshot: Snapshot) -> Hub:
    """The Hub that serves the snapshot's cache and nothing else."""
    return Hub(offline=True, cache_dir=snapshot.path.parents[2])
