"""Streams of copies onto a device: everything that `staging` asks of torch and of a device, by a single thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, cast

import torch

__all__ = ["CopyStream", "copy_stream_to"]

_CARVED_FROM = 1 << 20  # bytes; torch's CUDA allocator takes smaller tensors from segments for small ones
_ROUNDED_TO = 512  # bytes; the CUDA allocator rounds every tensor up to a multiple


class CopyStream(Protocol):
    """A stream of copies onto a device, used by one thread; leaving it waits for them, after an error too."""

    def __enter__(self) -> object: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for all copies."""

    def memory(self, size: int) -> torch.Tensor:
        """Allocate `size` bytes of host memory that copies can start from."""

    def reserve(self, sizes: Iterable[int]) -> None:
        """Reserve device memory for tensors of these sizes in bytes."""

    def copy(self, to: torch.Tensor, source: torch.Tensor) -> None:
        """Start to copy bytes; `source` must not change until a mark set afterwards is reached."""

    def mark(self) -> Callable[[], None]:
        """Return a function that waits for the copies started so far."""


def copy_stream_to(device: torch.device) -> CopyStream:
    """Return a stream of copies onto this device."""
    return _CudaStream(device) if device.type == "cuda" else _BlockingCopies()


class _BlockingCopies:
    """Copies each of which ends before `copy` returns."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def memory(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, device="cpu")

    def reserve(self, sizes: Iterable[int]) -> None: ...

    def copy(self, to: torch.Tensor, source: torch.Tensor) -> None:
        to.copy_(source)

    def mark(self) -> Callable[[], None]:
        return lambda: None


class _CudaStream:
    """Copies in a CUDA stream of their own."""

    def __init__(self, device: torch.device) -> None:
        torch.cuda.init()
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)

    def __enter__(self) -> None:
        # The allocator gives out memory that work in the caller's stream may not be done with yet.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def __exit__(self, *error: object) -> None:
        self._stream.synchronize()

    def memory(self, size: int) -> torch.Tensor:
        with torch.cuda.device(self._device):  # page-locked memory makes a context on the current device
            return torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True)

    def reserve(self, sizes: Iterable[int]) -> None:
        carved = [-(-size // _ROUNDED_TO) * _ROUNDED_TO for size in sizes if size > _CARVED_FROM]
        with suppress(torch.OutOfMemoryError):  # in several blocks it may still fit
            torch.empty(sum(carved), dtype=torch.uint8, device=self._device)

    def copy(self, to: torch.Tensor, source: torch.Tensor) -> None:
        with torch.cuda.stream(self._stream):
            to.copy_(source, non_blocking=True)

    def mark(self) -> Callable[[], None]:
        event = torch.cuda.Event(blocking=True)  # a wait that spins would take a core from the readers
        event.record(self._stream)
        return cast(Callable[[], None], event.synchronize)
