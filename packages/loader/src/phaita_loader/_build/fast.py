"""Build a model the fast way: an uninitialised skeleton takes the tensors of the files.

It builds only what is known to equal the result of `from_pretrained`, and raises `NotFast` for any other model.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from phaita_loader._build.engines import read_weights
from phaita_loader._build.imports import collector_paused
from phaita_loader._build.options import BuildOptions, Built
from phaita_loader._build.skeleton import Skeleton
from phaita_loader._build.weight_names import NotFast, places_of
from phaita_loader._weight_files import shards
from phaita_loader._weight_layouts import WEIGHT_FILES
from phaita_loader.request import ModelRequest

__all__ = ["COMPARED", "NotFast", "build"]

_FILES_ALONE = {"local_files_only": True, "trust_remote_code": False}  # None would ask on the terminal
_MAPPINGS = {
    "auto": "MODEL_MAPPING",
    "causal_lm": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "masked_lm": "MODEL_FOR_MASKED_LM_MAPPING",
    "sequence_classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
}
_NOT_OF_THE_CONFIG = frozenset({"dtype", "trust_remote_code", "weights_only"})
_HALVES = (torch.float16, torch.bfloat16)
_DTYPES = (*_HALVES, torch.float32, torch.float64)

# What tests/unit/test_fast_way.py compares bit by bit, and nothing else: architectures differ in more than can be seen.
COMPARED: dict[str, frozenset[str]] = {
    "bart": frozenset({"auto"}),
    "bert": frozenset({"auto", "masked_lm"}),
    "deberta-v2": frozenset({"auto", "masked_lm"}),
    "distilbert": frozenset({"auto", "masked_lm"}),
    "electra": frozenset({"auto", "masked_lm"}),
    "gpt2": frozenset({"auto", "causal_lm"}),
    "llama": frozenset({"auto", "causal_lm"}),
    "mistral": frozenset({"auto", "causal_lm"}),
    "mpnet": frozenset({"auto", "masked_lm"}),
    "opt": frozenset({"auto", "causal_lm"}),
    "qwen2": frozenset({"auto", "causal_lm"}),
    "qwen3": frozenset({"auto", "causal_lm"}),
    "roberta": frozenset({"auto", "masked_lm"}),
    "t5": frozenset({"auto"}),
    "vit": frozenset({"auto"}),
}


def build(
    folder: Path,
    request: ModelRequest,
    options: BuildOptions,
    kwargs: Mapping[str, Any],
    check: Callable[[], None] = lambda: None,
) -> Built:
    """Build the model in a snapshot's folder, in `eval()` mode, equal to what `from_pretrained` makes of it.

    kwargs: for `from_pretrained`; a dtype among them stands in for the request's. check: as in `read_weights`.

    Buffers that the files lack are on the CPU, whatever the device. Raises NotFast, and whatever reading the files
    raises.
    """
    _refuse_other_modes()
    given = {name: value for name, value in kwargs.items() if name not in _NOT_OF_THE_CONFIG}
    config, extra = _config(folder, given)
    model_class = _model_class(request.kind, config, folder)
    if extra and (unknown := extra.keys() - inspect.signature(model_class.__init__).parameters.keys()):
        raise NotFast(f"{', '.join(sorted(unknown))} is for from_pretrained")
    files = _files(folder)
    read = read_weights(files, request.device, options.engine, check)
    dtype = kwargs.get("dtype", request.dtype)
    # An index of shards may name a dtype too: where neither request nor configuration does, transformers has to decide.
    config.dtype = wanted = _dtype(dtype, config, read.tensors if len(files) == 1 else {})
    config.name_or_path = str(folder)
    with collector_paused(), Skeleton(wanted) as mode:
        model = model_class(config, **extra)
        _tie(model)
    if mode.unclear:
        raise NotFast(f"its buffers depend on torch's default dtype ({', '.join(sorted(mode.unclear))})")
    if wanted in _HALVES and (model._keep_in_fp32_modules or model._keep_in_fp32_modules_strict):
        raise NotFast("parts of it keep another dtype")
    _fill(model, wanted, read.tensors, options.private_copy)
    _finish(model, folder)
    return Built(model, "fast", read.engine)


def _refuse_other_modes() -> None:
    """Raise NotFast where the process has changed how transformers builds models."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    patches: Any = getattr(sys.modules.get("transformers.monkey_patching"), "get_patch_mapping", dict)()
    renames = getattr(sys.modules.get("transformers.conversion_mapping"), "USER_REGISTERED_MAPPINGS", None)
    if patches or renames or is_deepspeed_zero3_enabled() or "ACCELERATE_USE_FSDP" in os.environ:
        raise NotFast("transformers is patched or sharded in this process")
    if torch.get_default_device().type != "cpu":
        raise NotFast("torch's default device is another than the CPU")


def _config(folder: Path, kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the configuration, changed by those keywords that it knows, and the other keywords."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, **_FILES_ALONE)
    if not kwargs:
        return config, {}
    if "torch_dtype" in kwargs:
        raise NotFast("torch_dtype is for from_pretrained")
    known = {name: value for name, value in kwargs.items() if hasattr(config, name)}
    if known:
        config, rest = AutoConfig.from_pretrained(folder, return_unused_kwargs=True, **_FILES_ALONE, **known)
        if rest:
            raise NotFast(f"{', '.join(sorted(rest))} is for from_pretrained")
    return config, {name: value for name, value in kwargs.items() if name not in known}


def _model_class(kind: str, config: Any, folder: Path) -> Any:
    """Return the class that transformers would take.

    Raises NotFast for code of the repo, quantised weights, adapters, and models that are made of several.
    """
    import transformers

    if kind not in COMPARED.get(config.model_type, ()):
        raise NotFast(f"{config.model_type} as {kind} was not compared")
    special = ("auto_map", "quantization_config", "transformers_weights", "fusion_config")
    found = [name for name in special if getattr(config, name, None) is not None]
    if found or config.sub_configs or getattr(type(config), "extra_files", None):
        raise NotFast(f"its configuration has {', '.join(found) or 'parts of its own'}")
    if (folder / "adapter_config.json").exists():
        raise NotFast("it has an adapter")
    with collector_paused():
        found_class = getattr(transformers, _MAPPINGS[kind]).get(type(config), None)
    # A user may have registered a class of another module, and some entries are tuples of classes.
    if not inspect.isclass(found_class) or not found_class.__module__.startswith("transformers.models."):
        raise NotFast(f"transformers has no one class of its own for {config.model_type}")
    return found_class


def _files(folder: Path) -> list[Path]:
    """Return the weight files, shards in their order. Raises NotFast where there are none."""
    for name in WEIGHT_FILES:
        if (folder / name).exists():
            names = shards(folder / name) if name.endswith(".json") else [name]
            return [folder / one for one in sorted(names)]
    raise NotFast("it has no weights that are known here")


def _dtype(asked: str | torch.dtype | None, config: Any, weights: Mapping[str, torch.Tensor]) -> torch.dtype:
    """Return the dtype asked for; None and "auto" mean the configuration's, or the weights' where it names none."""
    chosen = getattr(torch, asked, asked) if isinstance(asked, str) else asked
    if asked in {None, "auto"}:
        chosen = getattr(config, "dtype", None)
        own = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} if chosen is None else set()
        chosen = own.pop() if len(own) == 1 else chosen
    if chosen in _DTYPES:
        return chosen
    raise NotFast(f"its dtype is {chosen}")


def _tie(model: Any) -> None:
    """Tie parameters as `tie_weights` does."""
    # transformers replaces that method for all threads while one of them is in `from_pretrained`.
    for target, source in model.all_tied_weights_keys.items():
        owner, _, name = target.rpartition(".")
        setattr(model.get_submodule(owner), name, model.get_parameter_or_buffer(source))


def _fill(model: Any, dtype: torch.dtype, weights: dict[str, torch.Tensor], private_copy: bool) -> None:
    """Give every parameter and persistent buffer its tensor, and empty `weights`.

    Other tensors in the files (another task's head, say) are left out, as transformers leaves them out. Raises NotFast
    unless the files hold every tensor of the model.
    """
    own: dict[str, Any] = model.state_dict(keep_vars=True)
    places, model._weight_conversions = places_of(model, own, weights)  # the latter is what saving takes back
    filled: dict[int, tuple[Any, torch.Tensor]] = {}
    for name, place in places.items():
        target, tensor = own[place], weights[name]
        if not isinstance(target, torch.Tensor) or target.shape != tensor.shape:
            raise NotFast(f"{name} has another shape")
        if isinstance(target, torch.nn.Parameter) and target.is_floating_point() and target.dtype != dtype:
            raise NotFast(f"{name} has a dtype of its own")
        if not _is_same(filled.setdefault(id(target), (target, tensor))[1], tensor):
            raise NotFast(f"{name} is tied to a tensor of its own")
    if missing := [place for place, target in own.items() if id(target) not in filled]:
        raise NotFast(f"{missing[0]} is not in the files")
    # One by one, each freed as soon as it is converted: a model of another dtype is never in memory twice.
    weights.clear()
    while filled:
        _put(*filled.popitem()[1], private_copy)
    for module in model.modules():
        if not getattr(module, "_is_hf_initialized", False):
            module._is_hf_initialized = True  # else its weights are drawn anew when embeddings are resized


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    # A pickled transpose lies where its source lies: the address alone does not make two tensors one.
    return one is other or (
        one.data_ptr() == other.data_ptr() and one.stride() == other.stride() and one.dtype == other.dtype
    )


def _put(target: torch.Tensor, tensor: torch.Tensor, private_copy: bool) -> None:
    copied = private_copy and tensor.device.type == "cpu"
    target.data = tensor if target.dtype == tensor.dtype and not copied else tensor.to(target.dtype, copy=copied)
    if isinstance(target, torch.nn.Parameter):
        if target.requires_grad != target.is_floating_point():
            target.requires_grad_(target.is_floating_point())
        target._is_hf_initialized = True


def _finish(model: Any, folder: Path) -> None:
    """Do the last steps of `from_pretrained`: evaluation mode, kernels, and the settings of generation."""
    model.eval()
    model.set_use_kernels(False)
    if model.can_generate():
        from transformers import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True, **_settings_file(folder))


def _settings_file(folder: Path) -> dict[str, Any]:
    # Old repos have their generation settings in the model's own configuration.
    own = (folder / "generation_config.json").exists()
    return {} if own else {"config_file_name": "config.json", "_from_model_config": True}
