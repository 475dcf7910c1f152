"""Every wait of the loader goes over `Clock`, so that a test's clock moves it; exceptions are named with reasons."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import phaita_loader

FOLDER = Path(phaita_loader.__file__).parent

# Calls that wait for a real thread or disk, which no clock of a test could move.
REAL = {
    # A call that nothing can end is left behind after its seconds.
    "_bounded": {"thread.join(min(seconds, threading.TIMEOUT_MAX))"},
    # A disk that does not answer must not keep the caller, and the flusher's rhythm is that of the disk.
    "_transfer.flusher": {
        "self._changed.acquire(timeout=_DISK_WAIT)",
        "self._changed.wait_for(lambda: self._partial.unsynced >= _SOON or self._cancelled, self._every)",
        "self._thread.join(_DISK_WAIT)",
    },
    "_transfer.scheduler": {"ender.join(2 * _PARTING)", "ender.join(max(0.0, last - time.monotonic()))"},
    "_transfer.writer": {"self._mutex.acquire(timeout=_DISK_WAIT)"},
}
JOINS_OF_TEXT = {"os.path.join", "shlex.join"}
TIMED = {"wait", "join", "sleep", "acquire", "wait_for"}


def is_timed(call: ast.Call) -> bool:
    """True for a call of one of these names that is given a time, by position or keyword."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in TIMED:
        return False
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if call.func.attr == "acquire":
        timeout = keywords.get("timeout")
        return timeout is not None and ast.unparse(timeout) != "0"
    if isinstance(call.func.value, ast.Constant) or ast.unparse(call.func) in JOINS_OF_TEXT:
        return False
    return len(call.args) > (call.func.attr == "wait_for") or "timeout" in keywords


def timed_waits(path: Path) -> set[str]:
    """The timed waits of a module that are not the clock's."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return {ast.unparse(call) for call in calls if is_timed(call) and "clock." not in ast.unparse(call.func)}


MODULES = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in FOLDER.rglob("*.py")}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_waits_go_over_the_clock(module: str) -> None:
    assert timed_waits(MODULES[module]) == REAL.get(module, set())


@pytest.mark.parametrize(
    "line", ["event.wait(0.1)", "thread.join(1)", "time.sleep(1)", "lock.acquire(timeout=2)", "c.wait_for(f, 1)"]
)
def test_a_timed_wait_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line)
    assert timed_waits(tmp_path / "module.py") == {line}


@pytest.mark.parametrize("line", ["event.wait()", "thread.join()", "clock.wait(event, 1)", "', '.join(names)"])
def test_others_are_not(line: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line)
    assert timed_waits(tmp_path / "module.py") == set()
