"""A file leaves the page cache, and it is asked of the kernel whether it did (Linux)."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def evict(path: Path) -> None:
    """Write back and drop the file's pages; those that a process has mapped stay."""
    with path.open("rb") as file:
        os.fdatasync(file.fileno())  # dirty pages can't be dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(path: Path) -> float:
    """The share of the file's pages that are in memory, by mincore(2). Raises OSError."""
    size = path.stat().st_size
    if size == 0:
        return 0.0
    # A private mapping, as only a writable one tells ctypes its address; nothing is written.
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        there = (ctypes.c_ubyte * pages)()
        begin = ctypes.c_char.from_buffer(mapped)
        try:
            failed = _LIBC.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(size), there)
        finally:
            del begin  # or the mapping could not be closed
        if failed:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return sum(page & 1 for page in there) / pages
