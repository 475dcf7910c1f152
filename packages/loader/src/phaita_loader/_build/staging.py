"""Weights from files onto a device through a ring of staging buffers.

Several threads read the files into the buffers. The calling thread alone speaks to the device: it starts a copy out of
each buffer that comes, which goes on while the next are read. Host memory is bounded by the ring.

On CUDA the buffers are page-locked, since the driver copies anything else by way of a buffer of its own and makes
the caller wait. Each tensor has a storage of its own: in one that a shard shares, pickling a single parameter writes
the whole shard, freeing one frees nothing, and safetensors refuses to save. What one allocation a shard is good for,
few calls of `cudaMalloc`, comes by asking torch's caching allocator for a block as large as the shard and giving it
back: the tensors are then carved out of it.
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

from phaita_loader._build.dtypes import dtype_of
from phaita_loader._build.copy_streams import Lane, lane_to
from phaita_loader._weight_files import TensorEntry, safetensors_entries
from phaita_loader.errors import Corrupt

__all__ = ["Ring", "staged"]

Open = Callable[[Path], RawIOBase]

_RAW: Open = cast(Open, partial(open, mode="rb", buffering=0))


@dataclass(frozen=True, slots=True)
class Ring:
    """How many buffers of how many bytes, and how many threads fill them.

    The page cache gives one thread less than a bus takes, and a disk wants several reads at a time. Half of the
    buffers may be on the bus while the others are filled; one of a few MiB is enough to use all of the bus.
    """

    buffers: int = 8
    size: int = 8 << 20
    readers: int = 4


@dataclass(frozen=True, slots=True)
class _Piece:
    to: torch.Tensor  # bytes of a tensor on its device
    begin: int  # in the buffer


@dataclass(frozen=True, slots=True)
class _Chunk:
    path: Path
    start: int
    size: int
    pieces: tuple[_Piece, ...]


def staged(
    shards: Sequence[Path],
    device: torch.device,
    wanted: Callable[[str], bool] = lambda name: True,
    *,
    check: Callable[[], None] = lambda: None,
    ring: Ring = Ring(),
    lane: Lane | None = None,
    opened: Open = _RAW,
) -> dict[str, torch.Tensor]:
    """The wanted tensors of safetensors files on a device, by name, in the files' own dtypes and shapes.

    A name that two files have is the later one's. `check` is called now and then, and ends it by raising.
    Raises Corrupt for a file that is not whole, Unsupported for a dtype that torch lacks, OSError; nothing is left
    running then, nor on the device.
    """
    lane = lane or lane_to(device)
    tensors: dict[str, torch.Tensor] = {}
    chunks: list[_Chunk] = []
    for path in shards:
        entries = [entry for entry in safetensors_entries(path) if wanted(entry.name)]
        lane.reserve(entry.end - entry.start for entry in entries)
        made = [_made(path, entry, device) for entry in entries]
        tensors |= {entry.name: tensor for entry, tensor in zip(entries, made, strict=True)}
        chunks += _chunks(path, zip(entries, map(_bytes, made), strict=True), ring.size)
    _transfer(chunks, lane, ring, opened, check)
    return tensors


def _made(path: Path, entry: TensorEntry, device: torch.device) -> torch.Tensor:
    dtype = dtype_of(entry.dtype)
    if prod(entry.shape) * dtype.itemsize != entry.end - entry.start:
        raise Corrupt(f"{path.name} has another number of bytes for {entry.name} than its shape says")
    return torch.empty(entry.shape, dtype=dtype, device=device)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.uint8)


def _chunks(path: Path, places: Iterable[tuple[TensorEntry, torch.Tensor]], size: int) -> Iterator[_Chunk]:
    """What is read at once, in the file's order: neighbours as far as they fit a buffer of `size` bytes."""
    pieces: list[_Piece] = []
    begin = end = 0
    for entry, target in sorted(places, key=lambda place: place[0].start):
        at = entry.start
        while at < entry.end:
            if at != end or end - begin == size:
                if pieces:
                    yield _Chunk(path, begin, end - begin, tuple(pieces))
                pieces, begin, end = [], at, at
            stop = min(entry.end, begin + size)
            pieces.append(_Piece(target[at - entry.start : stop - entry.start], at - begin))
            at = end = stop
    if pieces:
        yield _Chunk(path, begin, end - begin, tuple(pieces))


def _transfer(chunks: Sequence[_Chunk], lane: Lane, ring: Ring, opened: Open, check: Callable[[], None]) -> None:
    count = min(ring.buffers, len(chunks))
    size = max((chunk.size for chunk in chunks), default=0)
    buffers = lane.memory(count * size).split(size) if chunks else ()
    under_way: deque[tuple[torch.Tensor, Callable[[], None]]] = deque()
    with closing(_Readers(chunks, buffers, ring.readers, opened)) as readers, lane:
        for _ in chunks:
            chunk, buffer = readers.filled()
            check()
            for piece in chunk.pieces:
                lane.copy(piece.to, buffer[piece.begin : piece.begin + piece.to.numel()])
            under_way.append((buffer, lane.mark()))
            if len(under_way) > count // 2:
                oldest, wait = under_way.popleft()
                wait()
                readers.fill(oldest)


class _Readers:
    """Threads that fill buffers with chunks, begun in order."""

    def __init__(self, chunks: Sequence[_Chunk], buffers: Sequence[torch.Tensor], most: int, opened: Open) -> None:
        self._opened = opened
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

    def filled(self) -> tuple[_Chunk, torch.Tensor]:
        """A chunk and the buffer that has its bytes. Raises what a thread met."""
        result = self._filled.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def fill(self, buffer: torch.Tensor) -> None:
        """Nobody needs what this buffer has."""
        self._free.put(buffer)

    def close(self) -> None:
        """End the threads, once the buffers that are free now are filled."""
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
        except BaseException as error:
            self._filled.put(error)

    def _read(self, chunk: _Chunk, buffer: torch.Tensor) -> None:
        room = memoryview(buffer.numpy())[: chunk.size]
        with self._opened(chunk.path) as file:
            file.seek(chunk.start)
            while room:
                count = file.readinto(room)
                if not count:
                    raise Corrupt(f"{chunk.path.name} was cut while it was read")
                room = room[count:]
