"""A verified snapshot becomes a model on its device, from files alone: nothing here touches the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from phaita_loader._build.engines import Engine, Placed, chosen, placed
from phaita_loader._build.imports import collector_paused
from phaita_loader.errors import InitialisationError, LoaderError
from phaita_loader.request import ModelRequest
from phaita_loader.snapshot import VerifiedSnapshot

__all__ = [
    "TURN",
    "Built",
    "Way",
    "initialise",
    "initialise_config",
    "initialise_tokenizer",
    "refuse_engine",
    "refuse_pickles",
    "require_extra",
]

Way: TypeAlias = Literal["fast", "from_pretrained"]

_LOG = logging.getLogger(__name__)

_CLASSES = {
    "auto": "AutoModel",
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "sequence_classification": "AutoModelForSequenceClassification",
}

_CHECK = "check the kind and the keywords, and that these versions of torch and transformers know the architecture"

TURN = threading.RLock()
"""transformers switches process-wide defaults while it builds a model: whoever builds one beside a load takes turns."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model, and the way in which it was built: `engine` is what read the weights, None where transformers did."""

    model: Any
    path: Way
    engine: str | None = None


def require_extra(kind: str) -> None:
    """Say what is missing before a byte is fetched. Raises InitialisationError where torch or transformers is."""
    wanted = ["transformers"] if kind in {"config", "tokenizer"} else ["transformers", "torch", "safetensors"]
    lost = [name for name in wanted if find_spec(name) is None]
    if lost:
        raise InitialisationError(f"{', '.join(lost)} not installed", hint="pip install 'phaita-loader[models]'")


def refuse_pickles(kwargs: Mapping[str, Any]) -> None:
    """Pickled weights can run code from the repo. Raises ValueError for `weights_only=False`."""
    if not kwargs.get("weights_only", True):
        raise ValueError("weights_only=False would run code from the repo; convert the weights to safetensors instead")


def refuse_engine(engine: str, device: str | None) -> None:
    """Raises ValueError for an engine that is not known, not installed, or of no use for that device."""
    chosen(engine, _device_type(device))


def initialise(
    verified: VerifiedSnapshot,
    *,
    fast: bool = True,
    private_copy: bool = False,
    engine: Engine = "auto",
    check: Callable[[], None] = lambda: None,
    **kwargs: Any,
) -> Built:
    """The request's model in `eval()` mode, on its device; `kwargs` go to the model's `from_pretrained`.

    fast: take the fast way where it gives what `from_pretrained` gives; False always takes the latter.
    private_copy: read the weights into memory of this process. Else, on a CPU, their pages are the files' until they
        are written to, and follow whoever changes the files in place.
    engine: what takes safetensors onto a device, the fast way: "ring", or a library that is installed; "auto" maps
        them for the CPU, and on CUDA is the best there is.
    check: called now and then while weights are read, and ends that by raising.

    Pickled weights are only read with `weights_only=True`. Raises InitialisationError; ValueError for the engine.
    """
    refuse_pickles(kwargs)
    request = verified.snapshot.request
    refuse_engine(engine, request.device)
    built = None
    if fast and not (request.trust_remote_code or kwargs.get("trust_remote_code")):
        built = _fast(verified, private_copy, engine, check, kwargs)
    if built is None:
        if request.dtype is not None:
            kwargs.setdefault("dtype", request.dtype)
        model = _from_pretrained(_CLASSES[request.kind], verified, {**kwargs, "weights_only": True})
        if private_copy and hasattr(model, "parameters"):  # `output_loading_info` makes it a tuple
            _copied(model)
        built = Built(model, "from_pretrained")
    there = request.device is None or (built.path == "fast" and request.device == "cpu")
    return built if there else Built(_moved(built.model, request), built.path, built.engine)


def initialise_tokenizer(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The snapshot's tokenizer. Raises InitialisationError."""
    return _from_pretrained("AutoTokenizer", verified, kwargs)


def initialise_config(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The snapshot's configuration. Raises InitialisationError."""
    return _from_pretrained("AutoConfig", verified, kwargs)


def _fast(
    verified: VerifiedSnapshot, private_copy: bool, engine: str, check: Callable[[], None], kwargs: Mapping[str, Any]
) -> Built | None:
    """The model, unless the fast way is not for it."""
    request = verified.snapshot.request
    own = {"dtype", "trust_remote_code", "weights_only"}
    given = {name: value for name, value in kwargs.items() if name not in own}
    with collector_paused():
        from phaita_loader._build.fast import NotFast, build
    used: list[str] = []

    def read(files: Sequence[Path]) -> dict[str, Any]:
        found = _read(files, request.device, engine, check)
        used.append(found.engine)
        return found.tensors

    try:
        with TURN:
            model = build(verified.path, request.kind, kwargs.get("dtype", request.dtype), given, read, private_copy)
    except (LoaderError, MemoryError):
        raise
    except Exception as error:
        # What is no NotFast: another version of transformers, or files that it reads in its own way, and complains of.
        level = logging.DEBUG if engine == "auto" else logging.WARNING
        unforeseen = None if isinstance(error, NotFast) else error
        _LOG.log(level, "%s is left to from_pretrained: %s", request.repo_id, error, exc_info=unforeseen)
        return None
    return Built(model, "fast", used[0])


def _copied(model: Any) -> None:
    """Every tensor on the CPU gets memory of its own; those that are one tensor stay one."""
    for tensor in {id(one): one for one in (*model.parameters(), *model.buffers())}.values():
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _read(files: Sequence[Path], device: str | None, engine: str, check: Callable[[], None]) -> Placed:
    """The tensors of the files: mapped, unless they go to CUDA or an engine was named.

    Raises InitialisationError where the latter fails.
    """
    from phaita_loader._build.mapping import mapped

    safetensors = all(file.suffix == ".safetensors" for file in files)
    if not safetensors or (engine == "auto" and _device_type(device) != "cuda"):
        return Placed(mapped(files), "mapping")
    import torch

    try:
        return placed(files, torch.device(device or "cpu"), engine, check=check)
    except (LoaderError, LookupError):
        raise
    except Exception as error:
        if engine == "auto":
            raise
        cause = f"the engine {engine!r} can't load the weights: {_first_line(error)}"
        raise InitialisationError(cause, hint="leave the engine to 'auto'") from error


def _device_type(device: str | None) -> str:
    return (device or "cpu").partition(":")[0]


def _from_pretrained(name: str, verified: VerifiedSnapshot, kwargs: dict[str, Any]) -> Any:
    request = verified.snapshot.request
    kwargs.setdefault("trust_remote_code", request.trust_remote_code)
    try:
        with collector_paused():
            import transformers

            chosen = getattr(transformers, name)
        with TURN:
            return chosen.from_pretrained(verified.path, local_files_only=True, **kwargs)
    except Exception as error:
        cause = f"{name} can't be built: {_first_line(error)}"
        raise InitialisationError(cause, request=request, hint=_CHECK) from error


def _moved(model: Any, request: ModelRequest) -> Any:
    try:
        return model.to(request.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        cause = f"the model does not go to {request.device!r}: {_first_line(error)}"
        raise InitialisationError(cause, request=request, hint="name a device that torch sees") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
