"""The CUDA context, made while other things are imported."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["warm"]

_CUDA = re.compile(r"cuda(?::(\d+))?")
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def warm(device: str | None, driver: Callable[[str], Any] = ctypes.CDLL) -> threading.Thread | None:
    """Begin to make the context of a device such as "cuda:1" in a thread, for torch to find; which is returned.

    It asks the driver itself, which holds no GIL and needs no torch: so it goes on beside the import of torch. Without
    a driver or such a device nothing happens, and torch says later what is wrong. The context lasts as the process.
    """
    match = _CUDA.fullmatch(device or "")
    if match is None:
        return None
    # No daemon: a process that ends in the middle of starting the driver would have to end it for it.
    thread = threading.Thread(target=_make, args=(int(match[1] or 0), driver), name="phaita-warm")
    with suppress(RuntimeError):  # no thread is left to be had
        thread.start()
        return thread
    return None


def _make(number: int, driver: Callable[[str], Any]) -> None:
    with suppress(Exception):
        if _initialised():
            return
        library = driver(_DRIVER)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        if library.cuInit(0) == 0 and library.cuDeviceGet(ctypes.byref(device), number) == 0:
            # The primary context is the one that the CUDA runtime uses, and so torch.
            library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def _initialised() -> bool:
    """Whether torch uses CUDA already: then "cuda" means its current device, which need not be the first."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda is not None and bool(cuda.is_initialized())
