"""Fixtures, and a guard: no test reaches a socket, a token in the environment or the user's cache."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_socket import disable_socket, enable_socket

from phaita_loader._cache.repo import RepoCache
from tests.unit.fakes import FakeClock, FakeHub
from tests.unit.scene import Scene

# A slow machine is no failure, and a kept example database would make one run depend on the last.
settings.register_profile("unit", deadline=None, database=None, max_examples=60)
settings.load_profile("unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("torch") is None or find_spec("transformers") is None:
        for item in items:
            if item.get_closest_marker("torch") and item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="torch and transformers are not installed"))


def pytest_collection_finish() -> None:
    # The tests and their libraries stay to the end; without this, every collection of garbage walks through them.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(tmp_path: Path) -> FakeHub:
    return FakeHub(tmp_path / "cache")


@pytest.fixture
def cache(hub: FakeHub) -> RepoCache:
    return RepoCache(hub.cache_dir, "org/name")


@pytest.fixture
def scene(hub: FakeHub) -> Iterator[Scene]:
    scene = Scene(hub)
    yield scene
    scene.assert_unlocked()
    assert all(response.closed for response in hub.responses), "every connection is given up in the end"
