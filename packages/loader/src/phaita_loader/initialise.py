"""Build a model on its device from a verified snapshot: from files alone, without the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from phaita_loader._build.engines import Engine, device_type_of, first_line, resolve_engine
from phaita_loader._build.imports import collector_paused
from phaita_loader._build.options import BuildOptions, Built, Way
from phaita_loader.errors import InitialisationError, LoaderError
from phaita_loader.request import ModelRequest
from phaita_loader.snapshot import VerifiedSnapshot

__all__ = [
    "TURN",
    "BuildOptions",
    "Built",
    "Way",
    "initialise",
    "initialise_config",
    "initialise_tokenizer",
    "refuse_engine",
    "refuse_pickles",
    "require_extra",
]

_LOG = logging.getLogger(__name__)

_CLASSES = {
    "auto": "AutoModel",
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "sequence_classification": "AutoModelForSequenceClassification",
}

_CHECK = "check the kind and the keywords, and that these versions of torch and transformers know the architecture"

TURN = threading.RLock()
"""The lock that each load holds while it builds: transformers switches process-wide defaults while it builds a model.
Take it around a `from_pretrained` that may run beside a load."""


def require_extra(kind: str) -> None:
    """Raise InitialisationError where torch or transformers is missing, before a byte is fetched."""
    wanted = ["transformers"] if kind in {"config", "tokenizer"} else ["transformers", "torch", "safetensors"]
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise InitialisationError(f"{', '.join(missing)} not installed", hint="pip install 'phaita-loader[models]'")


def refuse_pickles(kwargs: Mapping[str, Any]) -> None:
    """Raise ValueError for `weights_only=False`: pickled weights can run code from the repo."""
    if not kwargs.get("weights_only", True):
        raise ValueError("weights_only=False would run code from the repo; convert the weights to safetensors instead")


def refuse_engine(engine: str, device: str | None) -> None:
    """Raise ValueError for an engine that is unknown, not installed, or can't load onto that device."""
    resolve_engine(engine, device_type_of(device))


def initialise(
    verified: VerifiedSnapshot,
    options: BuildOptions | None = None,
    *,
    fast: bool = True,
    private_copy: bool = False,
    engine: Engine = "auto",
    check: Callable[[], None] = lambda: None,
    **kwargs: Any,
) -> Built:
    """Build the request's model in `eval()` mode, on its device; `kwargs` go to the model's `from_pretrained`.

    options: stand in for `fast`, `private_copy` and `engine`, which are the fields of `BuildOptions`.
    check: called between reads of the weights, and ends the build by raising.

    Pickled weights are only read with `weights_only=True`. Raises InitialisationError; ValueError for the engine.
    """
    options = options or BuildOptions(fast, private_copy, engine)
    request = verified.snapshot.request
    refuse_pickles(kwargs)
    refuse_engine(options.engine, request.device)
    built = None
    if options.fast and not (request.trust_remote_code or kwargs.get("trust_remote_code")):
        built = _build_fast(verified, options, kwargs, check)
    if built is None:
        built = _build_by_transformers(verified, options, kwargs)
    # The fast way reads weights onto the device; buffers that the files lack are on the CPU even then.
    on_device = request.device is None or (built.path == "fast" and request.device == "cpu")
    return built if on_device else replace(built, model=_move(built.model, request))


def initialise_tokenizer(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """Build the snapshot's tokenizer. Raises InitialisationError."""
    return _from_pretrained("AutoTokenizer", verified, kwargs)


def initialise_config(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """Build the snapshot's configuration. Raises InitialisationError."""
    return _from_pretrained("AutoConfig", verified, kwargs)


def _build_fast(
    verified: VerifiedSnapshot, options: BuildOptions, kwargs: Mapping[str, Any], check: Callable[[], None]
) -> Built | None:
    """Build the fast way, or return None where `from_pretrained` has to build the model."""
    request = verified.snapshot.request
    with collector_paused():
        from phaita_loader._build.fast import NotFast, build
    try:
        with TURN:
            return build(verified.path, request, options, kwargs, check)
    except (LoaderError, MemoryError):
        raise
    except Exception as error:
        # Other errors come from another version of transformers, or from files that it reads in its own way or refuses
        # with its own message.
        level = logging.DEBUG if options.engine == "auto" else logging.WARNING
        unforeseen = None if isinstance(error, NotFast) else error
        _LOG.log(level, "%s is left to from_pretrained: %s", request.repo_id, error, exc_info=unforeseen)
        return None


def _build_by_transformers(verified: VerifiedSnapshot, options: BuildOptions, kwargs: dict[str, Any]) -> Built:
    request = verified.snapshot.request
    if request.dtype is not None:
        kwargs.setdefault("dtype", request.dtype)
    model = _from_pretrained(_CLASSES[request.kind], verified, {**kwargs, "weights_only": True})
    if options.private_copy and hasattr(model, "parameters"):  # `output_loading_info` makes it a tuple
        _copy_from_files(model)
    return Built(model, "from_pretrained")


def _copy_from_files(model: Any) -> None:
    """Give each tensor on the CPU memory of its own; names that share a tensor go on sharing it."""
    for tensor in {id(one): one for one in (*model.parameters(), *model.buffers())}.values():
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _from_pretrained(name: str, verified: VerifiedSnapshot, kwargs: dict[str, Any]) -> Any:
    request = verified.snapshot.request
    kwargs.setdefault("trust_remote_code", request.trust_remote_code)
    try:
        with collector_paused():
            import transformers

            auto_class = getattr(transformers, name)
        with TURN:
            return auto_class.from_pretrained(verified.path, local_files_only=True, **kwargs)
    except Exception as error:  # transformers, torch and safetensors each raise errors of their own
        cause = f"{name} can't be built: {first_line(error)}"
        raise InitialisationError(cause, request=request, hint=_CHECK) from error


def _move(model: Any, request: ModelRequest) -> Any:
    try:
        return model.to(request.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        cause = f"the model does not go to {request.device!r}: {first_line(error)}"
        raise InitialisationError(cause, request=request, hint="name a device that torch sees") from error
