"""Map weight files into memory: tensors whose bytes are read when they are used, and never written back."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from phaita_loader._build.dtypes import dtype_of
from phaita_loader._weight_files import TensorEntry, safetensors_entries

__all__ = ["map_weights"]


def map_weights(files: Iterable[Path]) -> dict[str, torch.Tensor]:
    """Map the tensors of safetensors files, or of pickled ones (`weights_only`), on the CPU.

    Each has a storage of its own, which holds its bytes alone: one storage for a file would be pickled and saved
    whole with every tensor. Writing to a tensor changes this process's copy; until then its pages are the file's.

    Raises Corrupt for a broken header, Unsupported for a dtype that torch lacks, OSError, and what `torch.load` raises.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        tensors.update(_map_safetensors(file) if file.suffix == ".safetensors" else _map_pickled(file))
    return tensors


def _map_safetensors(file: Path) -> dict[str, torch.Tensor]:
    entries = safetensors_entries(file)
    if sys.platform == "win32":  # it reserves memory for every page that might be written, so for the whole file
        buffer: Any = bytearray(file.read_bytes())
    else:  # Python's own mmap would keep a descriptor open for each file
        buffer = torch.from_file(str(file), shared=False, size=file.stat().st_size, dtype=torch.uint8).numpy()
    return {entry.name: _tensor(buffer, entry) for entry in entries}


def _tensor(buffer: Any, entry: TensorEntry) -> torch.Tensor:
    dtype, count = dtype_of(entry.dtype), math.prod(entry.shape)
    if count * dtype.itemsize != entry.end - entry.start:
        raise ValueError(f"{entry.name} has {entry.end - entry.start} bytes for {count} values of {entry.dtype}")
    if count == 0:
        return torch.empty(entry.shape, dtype=dtype)
    if entry.start % dtype.itemsize:  # the format aligns no tensor, and torch needs it
        return torch.frombuffer(bytearray(buffer[entry.start : entry.end]), dtype=dtype).view(entry.shape)
    return torch.frombuffer(buffer, dtype=dtype, count=count, offset=entry.start).view(entry.shape)


def _map_pickled(file: Path) -> Mapping[str, torch.Tensor]:
    # `weights_only` refuses pickles that would run code.
    content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError(f"{file.name} holds more than tensors")
    return dict(content)
