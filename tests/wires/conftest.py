"""Fixtures: Hubs that stop with the test, clients of theirs, and an ear for connections."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from phaita_loader import Hub
from tests.hub import LocalHub


@pytest.fixture(scope="session")
def _stop() -> Iterator[Callable[[ExitStack], None]]:
    """Stops Hubs beside the next test: each takes a tenth of a second of doing nothing, for a hundred tests."""
    with ThreadPoolExecutor() as executor:
        stopping: list[Future[None]] = []
        yield lambda stack: stopping.append(executor.submit(stack.close))
        for stopped in stopping:
            stopped.result()


@pytest.fixture
def serve(_stop: Callable[[ExitStack], None]) -> Iterator[Callable[..., LocalHub]]:
    """Start a local Hub with these repos; it hangs up when the test ends."""
    with ExitStack() as stack:
        yield lambda *repos, **options: stack.enter_context(LocalHub(repos, **options))
        _stop(stack.pop_all())


@pytest.fixture
def serve_replicas(serve: Callable[..., LocalHub]) -> Callable[..., LocalHub]:
    """Start a local Hub with tiny replicas of these models."""
    replicas = import_module("tests.hub.replicas")  # needs torch, which not every Python under test has
    return lambda *names: serve(*map(replicas.replica, names))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache folder, not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def client(cache: Path) -> Callable[..., Hub]:
    """The loader's Hub for a local one (or a URL), anonymous and with the test's cache unless told otherwise."""

    def made(where: LocalHub | str, **options: object) -> Hub:
        url = where if isinstance(where, str) else where.url
        return Hub(url, **{"token": False, "cache_dir": cache, **options})  # type: ignore[arg-type]  # options of several types

    return made


_LISTENERS: list[list[object]] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _LISTENERS and event in {"socket.connect", "socket.getaddrinfo"}:
        for heard in _LISTENERS:
            heard.append(arguments[-1] if event == "socket.connect" else arguments[0])


@pytest.fixture(scope="session")
def connections() -> Callable[..., object]:
    """`with connections() as made:` lists every address that this process connects to or looks up meanwhile."""
    sys.addaudithook(_hear)  # one for the session: an audit hook can't be taken back

    @contextmanager
    def listening() -> Iterator[list[object]]:
        heard: list[object] = []
        _LISTENERS.append(heard)
        try:
            yield heard
        finally:
            _LISTENERS.remove(heard)

    return listening
