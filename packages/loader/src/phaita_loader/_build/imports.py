"""torch and transformers take seconds to import: done with the collector paused, and beside a download."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

__all__ = ["Imports", "collector_paused"]

_LOCK = threading.Lock()
_INSIDE: list[bool] = []  # one entry for each thread that is inside; the first knows how the collector was found

# Of a fresh process's import time the modules below are all but a few per cent; a model's own come when it is known.
_MODULES = ("torch", "transformers.models.auto.modeling_auto", "transformers.modeling_utils")


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection inside: imports make no garbage, and a tenth of their time went into looking for some.

    Afterwards the collector is as it was found. The environment variable PHAITA_LOADER_KEEP_GC leaves it alone.
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
    """The threads that were inside are not in this process."""
    global _LOCK
    _LOCK = threading.Lock()
    if _INSIDE and _INSIDE[0]:
        gc.enable()
    _INSIDE.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Imports:
    """What building a model needs: imported in a thread of its own from `start` on, if that is called, by `finish`."""

    def __init__(self, modules: tuple[str, ...] = _MODULES) -> None:
        self._modules = modules
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    def start(self) -> None:
        """Begin; a second time does nothing."""
        if self._thread is None:
            # No daemon: a process that ends in the middle of loading torch's libraries would have to end it for them.
            thread = threading.Thread(target=self._run, name="phaita-loader-imports")
            with suppress(RuntimeError):  # no thread is left to be had; `finish` imports
                thread.start()
                self._thread = thread

    def finish(self) -> None:
        """Wait for the thread, since two that import the same modules could see them half made; or import them here."""
        if self._thread is None:
            self._run()
        else:
            self._thread.join()

    def _run(self) -> None:
        with collector_paused():
            for module in self._modules:
                try:
                    import_module(module)
                except Exception:  # whoever needs the module is told when he imports it
                    return
