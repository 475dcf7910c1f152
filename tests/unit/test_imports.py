from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phaita_loader._build.imports import Imports, collector_paused

Write = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PHAITA_LOADER_KEEP_GC", raising=False)
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes a new module on the path and returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def write(name: str, code: str) -> str:
        Path(tmp_path, f"{name}.py").write_text(code)
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


def test_the_collector_is_paused_inside_and_as_found_after() -> None:
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with collector_paused():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_an_error_inside_puts_it_back() -> None:
    with pytest.raises(KeyError), collector_paused():
        raise KeyError
    assert gc.isenabled()


@pytest.mark.parametrize("first_out", ["the first in", "the last in"])
def test_threads_that_overlap_leave_it_as_found(first_out: str) -> None:
    inside, go_on = threading.Barrier(2), threading.Event()

    def other() -> None:
        with collector_paused():
            inside.wait()
            go_on.wait()

    thread = threading.Thread(target=other)
    with collector_paused():
        thread.start()
        inside.wait()
        if first_out == "the last in":
            go_on.set()
            thread.join()
            assert not gc.isenabled()
    if first_out == "the first in":
        assert not gc.isenabled()
        go_on.set()
        thread.join()
    assert gc.isenabled()


def test_it_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHAITA_LOADER_KEEP_GC", "1")
    with collector_paused():
        assert gc.isenabled()


def test_imports_run_in_a_thread_of_their_own(module: Write) -> None:
    code = "import gc, threading\nTHREAD = threading.current_thread()\nPAUSED = not gc.isenabled()\n"
    names = (module("first_of_two", code), module("second_of_two", code))
    imports = Imports(names)
    assert not set(names) & sys.modules.keys()
    imports.start()
    imports.start()
    imports.finish()
    for name in names:
        assert sys.modules[name].THREAD is not threading.current_thread()
        assert sys.modules[name].PAUSED
    assert not sys.modules[names[0]].THREAD.is_alive()
    assert gc.isenabled()


def test_what_was_not_started_is_imported_by_finish_itself(module: Write) -> None:
    name = module("never_started", "import gc, threading\nTHREAD = threading.current_thread()\n")
    imports = Imports((name,))
    assert name not in sys.modules
    imports.finish()
    assert sys.modules[name].THREAD is threading.current_thread()
    assert gc.isenabled()


def test_a_module_that_fails_is_left_to_whoever_needs_it(module: Write) -> None:
    names = (module("it_breaks", "raise ImportError('no')"), module("after_it", ""))
    imports = Imports(names)
    imports.start()
    imports.finish()
    assert not set(names) & sys.modules.keys()
