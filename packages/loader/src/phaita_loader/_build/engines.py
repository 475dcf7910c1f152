"""The engines that read weights: a memory map, the ring of this package, or a library that does the same.

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
from phaita_loader.errors import InitialisationError, LoaderError

if TYPE_CHECKING:
    import torch

__all__ = ["Engine", "Weights", "device_type_of", "first_line", "load_onto", "read_weights", "resolve_engine"]

logger = logging.getLogger("phaita_loader")

Engine = Literal["auto", "fastsafetensors", "instanttensor", "ring", "runai"]
Call = Callable[[list[str], "torch.device"], dict[str, "torch.Tensor"]]


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors on their device, by name, each with a storage of its own; and the engine that read them."""

    tensors: dict[str, torch.Tensor]
    engine: str


def resolve_engine(engine: str, device_type: str) -> str:
    """Return the engine that this name means for "cuda", "cpu" and so on, without importing it.

    Raises ValueError for an unknown name, and for a library that is not installed or can't load onto such a device.
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


def read_weights(files: Sequence[Path], device: str | None, engine: str, check: Callable[[], None]) -> Weights:
    """Map the files on the CPU, or load them onto the device where that is CUDA or an engine was named.

    `check` as in `load_onto`. Raises InitialisationError where an engine that was named fails.
    """
    safetensors = all(file.suffix == ".safetensors" for file in files)
    if not safetensors or (engine == "auto" and device_type_of(device) != "cuda"):
        from phaita_loader._build.mapping import map_weights

        return Weights(map_weights(files), "mapping")
    import torch

    try:
        return load_onto(torch.device(device or "cpu"), files, engine, check=check)
    except (LoaderError, LookupError):
        raise
    except Exception as error:
        # With "auto" nobody asked for this engine: the caller goes on with `from_pretrained`.
        if engine == "auto":
            raise
        cause = f"the engine {engine!r} can't load the weights: {first_line(error)}"
        raise InitialisationError(cause, hint="leave the engine to 'auto'") from error


def load_onto(
    device: torch.device,
    shards: Sequence[Path],
    engine: str = "auto",
    wanted: Callable[[str], bool] = lambda name: True,
    *,
    check: Callable[[], None] = lambda: None,
) -> Weights:
    """Load the wanted tensors of safetensors files onto a device, in the files' own dtypes and shapes.

    `check` is called by the ring between reads, and before a library begins; it ends the load by raising. Where "auto"
    chose a library and that fails, the ring loads the weights, with a warning, and `Weights.engine` is "ring".

    Raises ValueError as `resolve_engine` does, whatever `stage` raises, and whatever a library that was named raises.
    """
    name = resolve_engine(engine, device.type)
    check()
    if name != "ring":
        try:
            return Weights(_load_by_library(name, shards, device, wanted), name)
        except Exception as error:
            if engine != "auto":
                raise
            logger.warning("%s can't load the weights (%r); they are loaded without it", name, error)
    from phaita_loader._build.staging import stage

    return Weights(stage(shards, device, wanted, check=check), "ring")


def device_type_of(device: str | None) -> str:
    """Return "cuda" for "cuda:1" and so on; None is the CPU."""
    return (device or "cpu").partition(":")[0]


def first_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


def _load_by_library(
    name: str, shards: Sequence[Path], device: torch.device, wanted: Callable[[str], bool]
) -> dict[str, torch.Tensor]:
    """Load the files by a library. Raises RuntimeError where a tensor is not the one that its header describes."""
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
    """Make the device the current one inside, and yield it with its number."""
    if device.type != "cuda":
        yield device
        return
    import torch

    torch.cuda.init()
    # Libraries use the current device's stream, and may change which device is current.
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

    # Its default bypasses the page cache, where files just fetched or digested lie, and takes 4 GiB of the device.
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
