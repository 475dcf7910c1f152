"""The ways from files to a model. Each tells what it has done by `mark`, so that the time can be split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .models import AUTO, Case

Mark = Callable[[str], None]
"""Called with the name of the stage that has just ended."""


@dataclass(frozen=True)
class Built:
    """The model; `how` and `steps` are what this loader says of itself: its path, and seconds for each step."""

    model: Any
    how: str = ""
    steps: Mapping[str, float] = field(default_factory=dict)


def from_pretrained(case: Case, mark: Mark) -> Built:
    """transformers, with its defaults."""
    transformers = imported(case, mark)
    auto = getattr(transformers, AUTO[case.kind])
    model = auto.from_pretrained(
        case.source, revision=case.revision, local_files_only=case.offline, **quantisation(case)
    )
    mark("config, skeleton, weights")
    return Built(placed(model, case, mark))


def from_pretrained_tuned(case: Case, mark: Mark) -> Built:
    """transformers, told what it would find out: the class, the format, the dtype, the device where that is allowed."""
    transformers = imported(case, mark)
    known: dict[str, Any] = {"dtype": "auto", "local_files_only": True, **quantisation(case)}
    known["use_safetensors"] = any(Path(case.source).glob("*.safetensors"))
    if find_spec("accelerate"):
        known["device_map"] = case.device
    model = getattr(transformers, case.architecture).from_pretrained(case.source, **known)
    mark("config, skeleton, weights")
    return Built(placed(model, case, mark))


def phaita_loader(case: Case, mark: Mark) -> Built:
    """This loader: looks the snapshot up, checks it, builds the model."""
    from phaita_loader import Hub, ModelRequest, load

    mark("phaita_loader")
    device = None if case.four_bit else case.device  # bitsandbytes chooses
    request = ModelRequest(case.repo, revision=case.revision, kind=case.kind, device=device)
    hub = Hub(offline=case.offline, cache_dir=case.cache)
    loaded = load(request, hub=hub, tokenizer=False, **quantisation(case))
    return Built(loaded.model, loaded.path, loaded.timings)


def fastsafetensors(case: Case, mark: Mark) -> Built:
    """fastsafetensors reads, transformers assembles."""
    transformers = imported(case, mark)
    from fastsafetensors import fastsafe_open

    with fastsafe_open(files(case), device=case.device, nogds=True) as reader:
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118  # no mapping, no iterator
    mark("weights")
    return Built(assembled(transformers, case, tensors, mark))


def runai_model_streamer(case: Case, mark: Mark) -> Built:
    """Run:ai Model Streamer reads, transformers assembles."""
    transformers = imported(case, mark)
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_files(files(case), device=case.device)
        tensors = dict(streamer.get_tensors())
    mark("weights")
    return Built(assembled(transformers, case, tensors, mark))


def instanttensor(case: Case, mark: Mark) -> Built:
    """InstantTensor reads (to a CUDA device only), transformers assembles."""
    transformers = imported(case, mark)
    from instanttensor import safe_open

    with safe_open(files(case), framework="pt", device=0) as reader:
        tensors = dict(reader.tensors())
    mark("weights")
    return Built(assembled(transformers, case, tensors, mark))


OURS, THEIRS, TUNED = "phaita_loader", "from_pretrained", "from_pretrained_tuned"
CONTENDERS: dict[str, Callable[[Case, Mark], Built]] = {
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


def imported(case: Case, mark: Mark) -> Any:
    """transformers, with those imports made one by one that a load makes anyway."""
    import_module("torch")
    mark("torch")
    transformers = import_module("transformers")
    mark("transformers")
    getattr(transformers, case.architecture)
    getattr(transformers, AUTO[case.kind])
    mark("model class")
    return transformers


def files(case: Case) -> list[str]:
    """The safetensors files."""
    return sorted(map(str, Path(case.source).glob("*.safetensors")))


def assembled(transformers: Any, case: Case, tensors: dict[str, Any], mark: Mark) -> Any:
    """The documented way to a model from tensors that are there."""
    config = transformers.AutoConfig.from_pretrained(case.source, local_files_only=True)
    model_class = getattr(transformers, case.architecture)
    model = model_class.from_pretrained(None, config=config, state_dict=tensors, dtype=config.dtype)
    mark("skeleton")
    return placed(model, case, mark)


def placed(model: Any, case: Case, mark: Mark) -> Any:
    """The model on its device, where bitsandbytes has put those of four bits already."""
    there = model if case.four_bit else model.to(case.device)
    mark("to device")
    return there


def quantisation(case: Case) -> dict[str, Any]:
    """Four bits by bitsandbytes where the case asks for them."""
    if not case.four_bit:
        return {}
    return {"quantization_config": import_module("transformers").BitsAndBytesConfig(load_in_4bit=True)}
