"""Load weights from files onto a device through a ring of staging buffers.

Several threads read the files into the buffers. The calling thread alone uses the device: it starts a copy out of each
filled buffer, which goes on while the next buffers are filled. The ring limits the host memory.

On CUDA the buffers are page-locked, since the driver copies any other memory by way of a buffer of its own and makes
the caller wait. Each tensor has a storage of its own: with one storage for a shard, pickling a single parameter would
write the whole shard, freeing a parameter would free nothing, and safetensors would refuse to save. So that there are
few calls of `cudaMalloc` all the same, torch's caching allocator is asked for a block as large as the shard, which is
freed at once: the allocator then carves the tensors out of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from math import prod
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import cast

import torch

from phaita_loader._build.copy_streams import CopyStream, copy_stream_to
from phaita_loader._build.dtypes import dtype_of
from phaita_loader._weight_files import TensorEntry, safetensors_entries
from phaita_loader.errors import Corrupt

__all__ = ["Ring", "stage"]

Open = Callable[[Path], RawIOBase]

_RAW: Open = cast(Open, partial(open, mode="rb", buffering=0))


@dataclass(frozen=True, slots=True)
class Ring:
    """The number of buffers, their size in bytes, and the number of threads that fill them.

    One thread reads the page cache more slowly than a bus copies, and a disk is fastest with several reads in flight.
    Half of the buffers may be on the bus while the others are filled; a few MiB for each are enough to fill the bus.
    """

    buffers: int = 8
    size: int = 8 << 20
    readers: int = 4


@dataclass(frozen=True, slots=True)
class _Copy:
    to: torch.Tensor  # bytes of a tensor on its device
    begin: int  # in the buffer


@dataclass(frozen=True, slots=True)
class _Chunk:
    path: Path
    start: int
    size: int
    copies: tuple[_Copy, ...]


def stage(
    shards: Sequence[Path],
    device: torch.device,
    wanted: Callable[[str], bool] = lambda name: True,
    *,
    check: Callable[[], None] = lambda: None,
    ring: Ring = Ring(),
    stream: CopyStream | None = None,
    open_file: Open = _RAW,
) -> dict[str, torch.Tensor]:
    """Load the wanted tensors of safetensors files onto a device, by name, in the files' own dtypes and shapes.

    Where two files have the same name, the later file counts. `check` is called for each filled buffer, and ends the
    load by raising. Raises Corrupt for a truncated file, Unsupported for a dtype that torch lacks, OSError. After an
    error no thread is running and nothing is left on the device.
    """
    stream = stream or copy_stream_to(device)
    tensors: dict[str, torch.Tensor] = {}
    chunks: list[_Chunk] = []
    for path in shards:
        entries = [entry for entry in safetensors_entries(path) if wanted(entry.name)]
        stream.reserve(entry.end - entry.start for entry in entries)
        empty = [_allocate(path, entry, device) for entry in entries]
        tensors |= {entry.name: tensor for entry, tensor in zip(entries, empty, strict=True)}
        chunks += _chunks(path, zip(entries, map(_bytes, empty), strict=True), ring.size)
    _copy_all(chunks, stream, ring, open_file, check)
    return tensors


def _allocate(path: Path, entry: TensorEntry, device: torch.device) -> torch.Tensor:
    dtype = dtype_of(entry.dtype)
    # Checked before memory is allocated: a broken header may promise more than any device has.
    if prod(entry.shape) * dtype.itemsize != entry.end - entry.start:
        raise Corrupt(f"{path.name} has another number of bytes for {entry.name} than its shape says")
    return torch.empty(entry.shape, dtype=dtype, device=device)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.uint8)


def _chunks(path: Path, places: Iterable[tuple[TensorEntry, torch.Tensor]], size: int) -> Iterator[_Chunk]:
    """Return the reads of a file, in its order; tensors side by side share one, up to `size` bytes."""
    copies: list[_Copy] = []
    begin = end = 0
    for entry, target in sorted(places, key=lambda place: place[0].start):
        at = entry.start
        while at < entry.end:
            if at != end or end - begin == size:
                if copies:
                    yield _Chunk(path, begin, end - begin, tuple(copies))
                copies, begin, end = [], at, at
            stop = min(entry.end, begin + size)
            copies.append(_Copy(target[at - entry.start : stop - entry.start], at - begin))
            at = end = stop
    if copies:
        yield _Chunk(path, begin, end - begin, tuple(copies))


def _copy_all(
    chunks: Sequence[_Chunk], stream: CopyStream, ring: Ring, open_file: Open, check: Callable[[], None]
) -> None:
    count = min(ring.buffers, len(chunks))
    size = max((chunk.size for chunk in chunks), default=0)
    buffers = stream.memory(count * size).split(size) if chunks else ()
    in_flight: deque[tuple[torch.Tensor, Callable[[], None]]] = deque()
    with closing(_Readers(chunks, buffers, ring.readers, open_file)) as readers, stream:
        for _ in chunks:
            chunk, buffer = readers.next_filled()
            check()
            for copy in chunk.copies:
                stream.copy(copy.to, buffer[copy.begin : copy.begin + copy.to.numel()])
            in_flight.append((buffer, stream.mark()))
            # The other half stays with the readers: waiting for every copy at once would leave the disk idle.
            if len(in_flight) > count // 2:
                oldest, wait = in_flight.popleft()
                wait()
                readers.refill(oldest)


class _Readers:
    """Threads that fill buffers with chunks, which they begin in their order."""

    def __init__(self, chunks: Sequence[_Chunk], buffers: Sequence[torch.Tensor], most: int, open_file: Open) -> None:
        self._open_file = open_file
        self._todo: SimpleQueue[_Chunk | None] = SimpleQueue()
        self._free: SimpleQueue[torch.Tensor | None] = SimpleQueue()
        self._filled: SimpleQueue[tuple[_Chunk, torch.Tensor] | BaseException] = SimpleQueue()
        self._threads = [Thread(target=self._run, daemon=True, name="phaita-staging") for _ in buffers[: max(1, most)]]
        for chunk in [*chunks, *[None for _ in self._threads]]:
            self._todo.put(chunk)
        for buffer in buffers:
            self._free.put(buffer)
        for thread in self._threads:
            thread.start()

    def next_filled(self) -> tuple[_Chunk, torch.Tensor]:
        """Wait for a chunk, and return it with the buffer of its bytes. Raises the error that ended a thread."""
        result = self._filled.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def refill(self, buffer: torch.Tensor) -> None:
        """Give a buffer back, whose bytes were copied, to be filled again."""
        self._free.put(buffer)

    def close(self) -> None:
        """End the threads once they have filled the buffers that are free now."""
        for _ in self._threads:
            self._free.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while (buffer := self._free.get()) is not None:
                chunk = self._todo.get()
                if chunk is None:
                    return
                self._read(chunk, buffer)
                self._filled.put((chunk, buffer))
        except BaseException as error:  # the calling thread raises it
            self._filled.put(error)

    def _read(self, chunk: _Chunk, buffer: torch.Tensor) -> None:
        room = memoryview(buffer.numpy())[: chunk.size]
        with self._open_file(chunk.path) as file:
            file.seek(chunk.start)
            while room:  # a read without buffering may give fewer bytes than asked for
                count = file.readinto(room)
                if not count:
                    raise Corrupt(f"{chunk.path.name} was cut while it was read")
                room = room[count:]
