"""The structure of weight files: what a safetensors header promises, and which shards an index names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phaita_loader.errors import Corrupt
from phaita_loader.listing import is_safe

__all__ = ["check_safetensors", "shards"]

_HEADER_MAX = 100_000_000  # bytes; the limit of the safetensors format itself
_SENSELESS = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def shards(index: Path) -> frozenset[str]:
    """The file names in an index's weight map, relative to its folder. Raises Corrupt."""
    try:
        names = frozenset(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except _SENSELESS as error:
        raise Corrupt(f"{index.name} is no index of shards") from error
    if not names or not all(isinstance(name, str) and is_safe(name) and "/" not in name for name in names):
        raise Corrupt(f"{index.name} names shards that can't be files beside it")
    return names


def check_safetensors(path: Path) -> None:
    """Whether the header parses and its tensors end where the file ends. Raises Corrupt."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _HEADER_MAX):
            raise Corrupt(f"{path.name} has no safetensors header")
        header = file.read(length)
    try:
        ends = [_end_of(entry) for name, entry in json.loads(header).items() if name != "__metadata__"]
    except _SENSELESS as error:
        raise Corrupt(f"{path.name} has a broken safetensors header") from error
    if 8 + length + max(ends, default=0) != size:
        raise Corrupt(f"{path.name} is {size} bytes long, its header says {8 + length + max(ends, default=0)}")


def _end_of(entry: Any) -> int:
    start, end = entry["data_offsets"]
    if not 0 <= int(start) <= int(end):
        raise ValueError("a tensor ends before it begins")
    return int(end)
