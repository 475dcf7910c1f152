"""Weight files for tests of the engines, libraries that seem installed, and comparisons of tensors."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MODULES = {"fastsafetensors": "fastsafetensors", "instanttensor": "instanttensor", "runai": "runai_model_streamer"}


def installer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that has Python find these libraries only, each with the names that are given for it."""

    def only(**libraries: Mapping[str, object]) -> None:
        for name, module in MODULES.items():
            made = None
            if name in libraries:
                made = ModuleType(module)
                made.__spec__ = ModuleSpec(module, None)
                made.__dict__.update(libraries[name])
            monkeypatch.setitem(sys.modules, module, made)

    return only


def write_shards(folder: Path, *shards: Mapping[str, Any]) -> list[Path]:
    """Write each mapping of tensors to a file, and return the paths."""
    save_file = import_module("safetensors.torch").save_file
    paths = [folder / f"model-{number}.safetensors" for number in range(len(shards))]
    for path, tensors in zip(paths, shards, strict=True):
        save_file(tensors, path)
    return paths


def write_mixed_shards(torch: ModuleType, folder: Path) -> list[Path]:
    """Write two files of several dtypes, with a tensor larger than a buffer of the ring, and many small ones."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw)

    return write_shards(
        folder,
        {"large": drawn(3, 1 << 20), "flag": torch.tensor([True, False]), "half": drawn(33, 7).bfloat16()},
        {f"small.{number}": drawn(number, 5) for number in range(50)}
        | {"scalar": torch.tensor(3), "odd": drawn(3).half()},
    )


def assert_bit_equal(torch: ModuleType, tensors: Mapping[str, Any], paths: Iterable[Path]) -> None:
    """Compare tensors with those that safetensors reads from the files."""
    load_file = import_module("safetensors.torch").load_file
    expected = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        ours = tensors[name].cpu()
        assert (ours.dtype, ours.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(ours.view(-1).view(torch.uint8), tensor.view(-1).view(torch.uint8)), name


def assert_own_storage(tensors: Mapping[str, Any]) -> None:
    """Check that no tensor's storage, nor its pickle, holds the bytes of others."""
    for name, tensor in tensors.items():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name
        assert len(pickle.dumps(tensor)) < tensor.nbytes + 1000, name


def skip_unless_installed(engine: str) -> None:
    """Skip a test of a library that this Python lacks."""
    if engine in MODULES and find_spec(MODULES[engine]) is None:
        pytest.skip(f"{engine} is not installed")
