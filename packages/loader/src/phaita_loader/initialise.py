"""A verified snapshot becomes a model on its device, from files alone: nothing here touches the network."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from phaita_loader.errors import InitialisationError
from phaita_loader.request import ModelRequest
from phaita_loader.verify import VerifiedSnapshot

__all__ = ["TURN", "initialise", "initialise_config", "initialise_tokenizer", "refuse_pickles", "require_extra"]

_CLASSES = {
    "auto": "AutoModel",
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "sequence_classification": "AutoModelForSequenceClassification",
}

TURN = threading.Lock()
"""transformers switches process-wide defaults while it builds a model: whoever builds one beside a load takes turns."""


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


def initialise(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The request's model in `eval()` mode, on its device; `kwargs` go to `from_pretrained`.

    Pickled weights are only read with `weights_only=True`. Raises InitialisationError.
    """
    request = verified.snapshot.request
    refuse_pickles(kwargs)
    kwargs["weights_only"] = True
    if request.dtype is not None:
        kwargs.setdefault("dtype", request.dtype)
    model = _from_pretrained(_CLASSES[request.kind], verified, kwargs)
    return model if request.device is None else _moved(model, request)


def initialise_tokenizer(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The snapshot's tokenizer. Raises InitialisationError."""
    return _from_pretrained("AutoTokenizer", verified, kwargs)


def initialise_config(verified: VerifiedSnapshot, **kwargs: Any) -> Any:
    """The snapshot's configuration. Raises InitialisationError."""
    return _from_pretrained("AutoConfig", verified, kwargs)


def _from_pretrained(name: str, verified: VerifiedSnapshot, kwargs: dict[str, Any]) -> Any:
    request = verified.snapshot.request
    kwargs.setdefault("trust_remote_code", request.trust_remote_code)
    try:
        import transformers

        with TURN:
            return getattr(transformers, name).from_pretrained(verified.path, local_files_only=True, **kwargs)
    except Exception as error:
        raise InitialisationError(f"{name} can't be built: {_first_line(error)}", request=request) from error


def _moved(model: Any, request: ModelRequest) -> Any:
    try:
        return model.to(request.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        cause = f"the model does not go to {request.device!r}: {_first_line(error)}"
        raise InitialisationError(cause, request=request) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
