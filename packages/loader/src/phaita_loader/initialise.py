"""A verified snapshot becomes a model on its device, from files alone: nothing here touches the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from phaita_loader._imports import collector_paused
from phaita_loader.errors import InitialisationError
from phaita_loader.request import ModelRequest
from phaita_loader.verify import VerifiedSnapshot

__all__ = [
    "TURN",
    "Built",
    "Way",
    "initialise",
    "initialise_config",
    "initialise_tokenizer",
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

TURN = threading.Lock()
"""transformers switches process-wide defaults while it builds a model: whoever builds one beside a load takes turns."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model, and the way in which it was built."""

    model: Any
    path: Way


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


def initialise(verified: VerifiedSnapshot, *, fast: bool = True, private_copy: bool = False, **kwargs: Any) -> Built:
    """The request's model in `eval()` mode, on its device; `kwargs` go to the model's `from_pretrained`.

    fast: take the fast way where it gives what `from_pretrained` gives; False always takes the latter.
    private_copy: read the weights into memory of this process. Else, on a CPU, their pages are the files' until they
        are written to, and follow whoever changes the files in place.

    Pickled weights are only read with `weights_only=True`. Raises InitialisationError.
    """
    refuse_pickles(kwargs)
    request = verified.snapshot.request
    built = _fast(verified, private_copy, kwargs) if fast else None
    if built is None:
        if request.dtype is not None:
            kwargs.setdefault("dtype", request.dtype)
        built = Built(
            _from_pretrained(_CLASSES[request.kind], verified, {**kwargs, "weights_only": True}), "from_pretrained"
        )
    return built if request.device is None else Built(_moved(built.model, request), built.path)


def initialise_tokenizer(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The snapshot's tokenizer. Raises InitialisationError."""
    return _from_pretrained("AutoTokenizer", verified, kwargs)


def initialise_config(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The snapshot's configuration. Raises InitialisationError."""
    return _from_pretrained("AutoConfig", verified, kwargs)


def _fast(verified: VerifiedSnapshot, private_copy: bool, kwargs: Mapping[str, Any]) -> Built | None:
    """The model, unless the fast way is not for it."""
    request = verified.snapshot.request
    given = {name: value for name, value in kwargs.items() if name not in {"dtype", "weights_only"}}
    if request.trust_remote_code or given.pop("trust_remote_code", False):
        return None
    dtype = kwargs.get("dtype", request.dtype)
    with TURN, collector_paused():
        from phaita_loader._fast import NotFast, build
        from phaita_loader._mapping import mapped

        try:
            model = build(verified.path, request.kind, dtype, given, mapped, private_copy)
        except NotFast as reason:
            _LOG.debug("%s is left to from_pretrained: %s", request.repo_id, reason)
            return None
        except (
            Exception
        ):  # another version of transformers, or files that it reads in its own way: it says what is wrong
            _LOG.debug("%s is left to from_pretrained", request.repo_id, exc_info=True)
            return None
    return Built(model, "fast")


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
