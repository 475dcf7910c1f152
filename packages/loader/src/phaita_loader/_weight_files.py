"""The structure of weight files: the tensors in a safetensors header, and the shards that an index names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from phaita_loader.errors import Corrupt
from phaita_loader.listing import is_safe

__all__ = ["TensorEntry", "safetensors_entries", "shards"]

_HEADER_MAX = 100_000_000  # bytes; the limit of the safetensors format itself
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def shards(index: Path) -> frozenset[str]:
    """Return the file names in an index's weight map, relative to its folder. Raises Corrupt."""
    try:
        names = frozenset(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except _MALFORMED as error:
        raise Corrupt(f"{index.name} is not an index of shards") from error
    if not names or not all(isinstance(name, str) and is_safe(name) and "/" not in name for name in names):
        raise Corrupt(f"{index.name} names shards that are not files beside it")
    return names


class TensorEntry(NamedTuple):
    """One tensor in a safetensors file: dtype as the format names it ("BF16"), bytes [start, end) of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def safetensors_entries(path: Path) -> tuple[TensorEntry, ...]:
    """Return the tensors of a file, in the order of its header.

    Raises Corrupt unless they fill the file without a gap or an overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        # The length is foreign: it must not make this read gigabytes.
        if not 2 <= length <= min(size - 8, _HEADER_MAX):
            raise Corrupt(f"{path.name} has no safetensors header")
        header = file.read(length)
    try:
        items = json.loads(header).items()
        entries = tuple(_entry(name, item, 8 + length) for name, item in items if name != "__metadata__")
    except _MALFORMED as error:
        raise Corrupt(f"{path.name} has a broken safetensors header") from error
    position = 8 + length
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise Corrupt(f"{path.name} has tensors that overlap, or bytes that belong to none")
        position = entry.end
    if position != size:
        raise Corrupt(f"{path.name} has {size} bytes, but its header requires {position}")
    return entries


def _entry(name: str, item: Any, offset: int) -> TensorEntry:
    start, end = map(int, item["data_offsets"])
    shape = tuple(map(int, item["shape"]))
    if not 0 <= start <= end or min(shape, default=0) < 0:
        raise ValueError("a tensor ends before it begins")
    return TensorEntry(name, str(item["dtype"]), shape, offset + start, offset + end)
