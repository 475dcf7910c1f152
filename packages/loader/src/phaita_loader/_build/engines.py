"""Which code takes weights onto a device: the ring of this package, or a library that does the same.

"auto" on a CUDA device is instanttensor where that is installed: it reads with several requests in flight and yields
tensors that own their memory; its publisher states 35 GB/s onto one H200, which was not measured here. The others run
when they are named: fastsafetensors gives tensors that share a file's memory, so that each is cloned, and a file lies
on the device twice meanwhile; runai-model-streamer copies from pageable memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from phaita_loader._weight_files import safetensors_entries

if TYPE_CHECKING:
    import torch

__all__ = ["Engine", "Placed", "chosen", "placed"]

logger = logging.getLogger("phaita_loader")

Engine = Literal["auto", "fastsafetensors", "instanttensor", "ring", "runai"]
Call = Callable[[list[str], "torch.device"], dict[str, "torch.Tensor"]]


@dataclass(frozen=True, slots=True)
class Placed:
    """Tensors on their device, by name, each with a storage of its own; and the engine that brought them."""

    tensors: dict[str, torch.Tensor]
    engine: str


def chosen(engine: str, device_type: str) -> str:
    """The engine that this name means for "cuda", "cpu" and so on, without importing one.

    Raises ValueError for a name that is none, a library that is not installed, or can't reach such a device.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine must be one of {', '.join(get_args(Engine))}; got {engine!r}")
    if engine == "auto":
        return _BEST if device_type == "cuda" and find_spec(_LIBRARIES[_BEST].module) else "ring"
    if engine in _LIBRARIES:
        library = _LIBRARIES[engine]
        if device_type not in library.devices:
            raise ValueError(f"engine {engine!r} can't load onto {device_type!r}: use 'ring' or 'auto'")
        if find_spec(library.module) is None:
            raise ValueError(f"engine {engine!r} is not installed: pip install '{library.requirement}'")
    return engine


def placed(
    shards: Sequence[Path],
    device: torch.device,
    engine: str = "auto",
    wanted: Callable[[str], bool] = lambda name: True,
    *,
    check: Callable[[], None] = lambda: None,
) -> Placed:
    """The wanted tensors of safetensors files on a device, in the files' own dtypes and shapes.

    `check` is called now and then by the ring, before a library begins, and ends the load by raising. Where "auto"
    meant a library that fails, the ring does it, with a warning, and `Placed.engine` says so.

    Raises ValueError as `chosen` does, what `staged` raises, and whatever a library that was named does.
    """
    name = chosen(engine, device.type)
    check()
    if name != "ring":
        try:
            return Placed(_by_library(name, shards, device, wanted), name)
        except Exception as error:
            if engine != "auto":
                raise
            logger.warning("%s can't load the weights (%r); they are loaded without it", name, error)
    from phaita_loader._build.staging import staged

    return Placed(staged(shards, device, wanted, check=check), "ring")


def _by_library(
    name: str, shards: Sequence[Path], device: torch.device, wanted: Callable[[str], bool]
) -> dict[str, torch.Tensor]:
    """What a library made of the files; one that made something else of a tensor than its header says is an error."""
    from phaita_loader._build.dtypes import dtype_of

    headers = {entry.name: entry for shard in shards for entry in safetensors_entries(shard) if wanted(entry.name)}
    with _current(device) as at:
        tensors = _LIBRARIES[name].call([str(shard) for shard in shards], at)
    for key, header in headers.items():
        found = tensors[key]
        if found.dtype != dtype_of(header.dtype) or tuple(found.shape) != header.shape or found.device != at:
            raise RuntimeError(f"{name} made {found.dtype} {tuple(found.shape)} on {found.device} of {header}")
    return {key: tensors[key] for key in headers}


@contextmanager
def _current(device: torch.device) -> Iterator[torch.device]:
    """The device with its number, and current meanwhile: libraries use the current one's stream, and may change it."""
    if device.type != "cuda":
        yield device
        return
    import torch

    torch.cuda.init()
    with torch.cuda.device(device):
        yield torch.device("cuda", torch.cuda.current_device())


def _fastsafetensors(files: list[str], device: torch.device) -> dict[str, torch.Tensor]:
    from fastsafetensors import fastsafe_open

    tensors: dict[str, torch.Tensor] = {}
    for file in files:  # one by one, as what is being cloned lies on the device twice
        # GPUDirect Storage needs a file system made ready for it, and with it the process is bound to a NUMA node.
        with fastsafe_open(file, device=str(device), nogds=True) as opened:
            tensors |= {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118  # no mapping
    return tensors


def _instanttensor(files: list[str], device: torch.device) -> dict[str, torch.Tensor]:
    from instanttensor import BackendPolicy, safe_open

    # Its default passes by the page cache, where what was just fetched or digested lies, and takes 4 GiB of the device.
    with safe_open(files, "pt", device, copy=True, backend=BackendPolicy.BUFFERED) as opened:
        return dict(opened.tensors())


def _runai(files: list[str], device: torch.device) -> dict[str, torch.Tensor]:
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_files(files, device=str(device))
        return dict(streamer.get_tensors())


@dataclass(frozen=True, slots=True)
class _Library:
    module: str
    requirement: str
    devices: frozenset[str]
    call: Call


_BEST = "instanttensor"
_LIBRARIES = {
    "fastsafetensors": _Library(
        "fastsafetensors", "fastsafetensors>=0.5", frozenset({"cpu", "cuda"}), _fastsafetensors
    ),
    "instanttensor": _Library("instanttensor", "instanttensor>=0.1.9", frozenset({"cuda"}), _instanttensor),
    "runai": _Library("runai_model_streamer", "runai-model-streamer>=0.17", frozenset({"cpu", "cuda"}), _runai),
}
