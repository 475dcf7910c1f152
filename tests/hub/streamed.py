"""Weights too large to be held in memory while they are made: drawn and written shard by shard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

_SHARDS = 4
_LARGEST = 2 << 30


def write_shards(model_class: type[Any], config: Any, dtype: torch.dtype, seed: int, folder: Path) -> None:
    """safetensors with an index, and the generation config: what `save_pretrained` would leave.

    Vectors are ones (all of Mistral's are norms' weights), matrices normal with the config's deviation.
    """
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in model_class(config).state_dict().items()}
    size = sum(shape.numel() for shape in shapes.values()) * dtype.itemsize
    shards = list(_shards(shapes, min(_LARGEST, size / (_SHARDS - 0.5)) / dtype.itemsize))
    generator = torch.Generator().manual_seed(seed)
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        places |= dict.fromkeys(names, file)
        tensors = {name: _drawn(shapes[name], dtype, config.initializer_range, generator) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    transformers.GenerationConfig.from_model_config(config).save_pretrained(folder)


def _shards(shapes: Mapping[str, torch.Size], limit: float) -> Iterator[list[str]]:
    """Names in order, so many that their elements stay below the limit (one name at least)."""
    names: list[str] = []
    elements = 0
    for name, shape in shapes.items():
        if names and elements + shape.numel() > limit:
            yield names
            names, elements = [], 0
        names.append(name)
        elements += shape.numel()
    yield names


def _drawn(shape: torch.Size, dtype: torch.dtype, deviation: float, generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=dtype)
    return torch.empty(shape, dtype=dtype).normal_(0.0, deviation, generator=generator)
