"""A time limit for calls that have none of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["bounded"]

T = TypeVar("T")


def bounded(call: Callable[[], T], seconds: float) -> T:
    """Return the call's result or raise its exception; raise TimeoutError when it takes longer.

    A late call is left behind in its daemon thread: a stuck name lookup can't be ended from outside, and an executor
    would wait for it when the interpreter exits.
    """
    result: list[T] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        # KeyboardInterrupt and SystemExit too: they are the caller's to see.
        except BaseException as raised:
            error.append(raised)

    thread = threading.Thread(target=run, daemon=True, name="phaita-bounded")
    thread.start()
    # A longer wait than the platform can express is an endless one, and join raises for it.
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if error:
        raise error[0]
    if not result:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return result[0]
