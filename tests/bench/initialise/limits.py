"""The limits of the machine, measured in the same run; the report compares figures with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from .cold import evict

_BLOCK = 4 << 20
_COPY = 256 << 20


def limits(weights: Path, device: str) -> dict[str, float]:
    """Bytes a second: of copies in memory, of reading this file from the page cache and from the disk, of PCIe."""
    source = torch.ones(_COPY, dtype=torch.uint8)
    found = {"memcpy": _rate(_COPY, _copying(source, torch.empty_like(source)))}
    evict(weights)
    size = weights.stat().st_size
    found["disk read"] = _rate(size, lambda: read(weights), rounds=1)
    found["page cache read"] = _rate(size, lambda: read(weights), rounds=2)
    if device != "cpu":
        found["pinned copy to the device"] = _rate(
            _COPY, _copying(source.pin_memory(), torch.empty_like(source, device=device))
        )
    return found


def _rate(count: int, call: Callable[[], object], rounds: int = 5) -> float:
    return count / min(_seconds(call) for _ in range(rounds))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _copying(source: torch.Tensor, target: torch.Tensor) -> Callable[[], object]:
    def copy() -> None:
        target.copy_(source, non_blocking=True)
        if target.is_cuda:
            torch.cuda.synchronize()

    copy()  # the target's pages come into being outside the timing
    return copy


def read(path: Path) -> None:
    """The whole file, into nowhere."""
    block = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass
