"""Import torch and transformers, which takes seconds: with the collector paused, and beside a download."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

__all__ = ["Imports", "collector_paused"]

_LOCK = threading.Lock()
_INSIDE: list[bool] = []  # for each thread that is inside: whether the collector was on before the first of them

# These take all but a few per cent of the import time; the modules of one architecture follow when it is known.
_MODULES = ("torch", "transformers.models.auto.modeling_auto", "transformers.modeling_utils")


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector inside, and leave it as it was found.

    Imports make no garbage, and a tenth of their time went into looking for some. The environment variable
    PHAITA_LOADER_KEEP_GC leaves the collector alone.
    """
    if os.environ.get("PHAITA_LOADER_KEEP_GC"):
        yield
        return
    with _LOCK:
        _INSIDE.append(_INSIDE[0] if _INSIDE else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _LOCK:
            was_enabled = _INSIDE.pop()
            if was_enabled and not _INSIDE:
                gc.enable()


def _after_fork() -> None:
    """Forget the threads that were inside: they do not exist in the child process."""
    global _LOCK
    _LOCK = threading.Lock()
    if _INSIDE and _INSIDE[0]:
        gc.enable()
    _INSIDE.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Imports:
    """The modules that building a model needs, imported by a thread (`start`) or, without one, by `finish`."""

    def __init__(self, modules: tuple[str, ...] = _MODULES) -> None:
        self._modules = modules
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """True if the thread was started."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            # Not a daemon: at its exit the interpreter must wait for libraries of torch that are being loaded.
            thread = threading.Thread(target=self._run, name="phaita-loader-imports")
            with suppress(RuntimeError):  # the process may have reached its limit of threads; `finish` imports
                thread.start()
                self._thread = thread

    def finish(self) -> None:
        """Wait for the thread, or import the modules here where none was started."""
        if self._thread is None:
            self._run()
        else:  # not beside it: two threads that import the same modules could see them half made
            self._thread.join()

    def _run(self) -> None:
        with collector_paused():
            for module in self._modules:
                try:
                    import_module(module)
                except Exception:  # importing it again, where it is needed, raises the same
                    return
