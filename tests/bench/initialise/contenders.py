"""The ways from files to a model. Each tells what it has done by `mark`, so that the time can be split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .models import AUTO, LoadSpec

Mark = Callable[[str], None]
"""Called with the name of the stage that has just ended."""


@dataclass(frozen=True)
class LoadedModel:
    """The model; `how` and `steps` are what this loader says of itself: its path, and seconds for each step."""

    model: Any
    how: str = ""
    steps: Mapping[str, float] = field(default_factory=dict)


def from_pretrained(spec: LoadSpec, mark: Mark) -> LoadedModel:
    """transformers, with its defaults."""
    transformers = imported(spec, mark)
    auto = getattr(transformers, AUTO[spec.kind])
    model = auto.from_pretrained(
        spec.source, revision=spec.revision, local_files_only=spec.offline, **quantisation(spec)
    )
    mark("config, skeleton, weights")
    return LoadedModel(placed(model, spec, mark))


def from_pretrained_tuned(spec: LoadSpec, mark: Mark) -> LoadedModel:
    """transformers, told what it would find out: the class, the format, the dtype, the device where that is allowed."""
    transformers = imported(spec, mark)
    known: dict[str, Any] = {"dtype": "auto", "local_files_only": True, **quantisation(spec)}
    known["use_safetensors"] = any(Path(spec.source).glob("*.safetensors"))
    if find_spec("accelerate"):
        known["device_map"] = spec.device
    model = getattr(transformers, spec.architecture).from_pretrained(spec.source, **known)
    mark("config, skeleton, weights")
    return LoadedModel(placed(model, spec, mark))


def phaita_loader(spec: LoadSpec, mark: Mark) -> LoadedModel:
    """This loader: looks the snapshot up, checks it, builds the model."""
    from phaita_loader import Hub, ModelRequest, load

    mark("phaita_loader")
    device = None if spec.four_bit else spec.device  # bitsandbytes chooses
    request = ModelRequest(spec.repo, revision=spec.revision, kind=spec.kind, device=device)
    hub = Hub(offline=spec.offline, cache_dir=spec.cache)
    loaded = load(request, hub=hub, tokenizer=False, **quantisation(spec))
    return LoadedModel(loaded.model, loaded.path, loaded.timings)


def fastsafetensors(spec: LoadSpec, mark: Mark) -> LoadedModel:
    """fastsafetensors reads, transformers assembles."""
    transformers = imported(spec, mark)
    from fastsafetensors import fastsafe_open

    with fastsafe_open(files(spec), device=spec.device, nogds=True) as reader:
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118  # no mapping, no iterator
    mark("weights")
    return LoadedModel(assembled(transformers, spec, tensors, mark))


def runai_model_streamer(spec: LoadSpec, mark: Mark) -> LoadedModel:
    """Run:ai Model Streamer reads, transformers assembles."""
    transformers = imported(spec, mark)
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_files(files(spec), device=spec.device)
        tensors = dict(streamer.get_tensors())
    mark("weights")
    return LoadedModel(assembled(transformers, spec, tensors, mark))


def instanttensor(spec: LoadSpec, mark: Mark) -> LoadedModel:
    """InstantTensor reads (to a CUDA device only), transformers assembles."""
    transformers = imported(spec, mark)
    from instanttensor import safe_open

    with safe_open(files(spec), framework="pt", device=0) as reader:
        tensors = dict(reader.tensors())
    mark("weights")
    return LoadedModel(assembled(transformers, spec, tensors, mark))


OURS, THEIRS, TUNED = "phaita_loader", "from_pretrained", "from_pretrained_tuned"
CONTENDERS: dict[str, Callable[[LoadSpec, Mark], LoadedModel]] = {
    made.__name__: made
    for made in (
        from_pretrained,
        from_pretrained_tuned,
        phaita_loader,
        fastsafetensors,
        runai_model_streamer,
        instanttensor,
    )
}
READERS = ("fastsafetensors", "runai_model_streamer", "instanttensor")
"""Those that read safetensors only, and leave the model to transformers."""


def missing() -> list[str]:
    """The contenders whose packages are not installed."""
    return [name for name in READERS if find_spec(name) is None]


def imported(spec: LoadSpec, mark: Mark) -> Any:
    """transformers, with those imports made one by one that a load makes anyway."""
    import_module("torch")
    mark("torch")
    transformers = import_module("transformers")
    mark("transformers")
    getattr(transformers, spec.architecture)
    getattr(transformers, AUTO[spec.kind])
    mark("model class")
    return transformers


def files(spec: LoadSpec) -> list[str]:
    """The safetensors files."""
    return sorted(map(str, Path(spec.source).glob("*.safetensors")))


def assembled(transformers: Any, spec: LoadSpec, tensors: dict[str, Any], mark: Mark) -> Any:
    """The documented way to a model from tensors that are there."""
    config = transformers.AutoConfig.from_pretrained(spec.source, local_files_only=True)
    model_class = getattr(transformers, spec.architecture)
    model = model_class.from_pretrained(None, config=config, state_dict=tensors, dtype=config.dtype)
    mark("skeleton")
    return placed(model, spec, mark)


def placed(model: Any, spec: LoadSpec, mark: Mark) -> Any:
    """The model on its device, where bitsandbytes has put those of four bits already."""
    there = model if spec.four_bit else model.to(spec.device)
    mark("to device")
    return there


def quantisation(spec: LoadSpec) -> dict[str, Any]:
    """Four bits by bitsandbytes where the spec asks for them."""
    if not spec.four_bit:
        return {}
    return {"quantization_config": import_module("transformers").BitsAndBytesConfig(load_in_4bit=True)}
