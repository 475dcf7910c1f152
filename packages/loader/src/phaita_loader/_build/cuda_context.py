"""Create the CUDA context of a device while torch is being imported."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["create_cuda_context"]

_CUDA = re.compile(r"cuda(?::(\d+))?")
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def create_cuda_context(
    device: str | None, driver: Callable[[str], Any] = ctypes.CDLL
) -> threading.Thread | None:
    """Start a thread that creates the context of a device such as "cuda:1", for torch to find, and return the thread.

    It calls the driver directly, which needs no torch and does not hold the GIL, so that it runs beside the import of
    torch. Without a driver or such a device it does nothing, and torch reports the error later. The context lasts as
    long as the process. Returns None for a device that is not CUDA, and where no thread can be started.
    """
    match = _CUDA.fullmatch(device or "")
    if match is None:
        return None
    # Not a daemon: at its exit the interpreter must wait for a driver that is being initialised.
    thread = threading.Thread(target=_create, args=(int(match[1] or 0), driver), name="phaita-warm")
    with suppress(RuntimeError):  # the process may have reached its limit of threads
        thread.start()
        return thread
    return None


def _create(number: int, driver: Callable[[str], Any]) -> None:
    with suppress(Exception):  # the context only saves time; torch reports what is wrong with the device
        if _is_initialised():
            return
        library = driver(_DRIVER)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        if library.cuInit(0) == 0 and library.cuDeviceGet(ctypes.byref(device), number) == 0:
            # The CUDA runtime, and so torch, uses the primary context.
            library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def _is_initialised() -> bool:
    """True if torch uses CUDA already: then "cuda" means its current device, which need not be the first."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda is not None and bool(cuda.is_initialized())
