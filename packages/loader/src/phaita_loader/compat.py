"""PHAITA's functions over `load`, with its names and parameters: its users switch without edits."""

from __future__ import annotations

import os
from typing import Any

from phaita_loader.errors import ModelDownloadError
from phaita_loader.hub import Hub
from phaita_loader.load import Loaded, load
from phaita_loader.policy import Policy
from phaita_loader.request import ModelRequest

__all__ = ["ModelDownloadError", "load_model_and_tokenizer", "load_pretrained_model", "robust_model_download"]

_KIND_OF = {
    "AutoConfig": "config",
    "AutoModel": "auto",
    "AutoModelForCausalLM": "causal_lm",
    "AutoModelForMaskedLM": "masked_lm",
    "AutoModelForSequenceClassification": "sequence_classification",
    "AutoTokenizer": "tokenizer",
}


def robust_model_download(
    model_name: str,
    model_type: str = "auto",
    max_retries: int = 3,
    timeout: float = 300,
    allow_offline: bool = False,
    token: str | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    deadline: float | None = None,
    policy: Policy | None = None,
    hub: Hub | None = None,
    **kwargs: Any,
) -> Any:
    """Load a model, tokenizer or config by `model_type`, fetched with retries (10 s, 20 s, 40 s, ... between them).

    `max_retries` is the number of attempts in all, `timeout` the limit of each and `deadline` that of the call, in
    seconds; all three are ignored where a `policy` is given. A `hub` has its own token and cache folder: to give those
    as well is a ValueError. `allow_offline=True` makes no request at all. `kwargs` reach `from_pretrained` (dtype,
    device_map, quantization_config, ...).

    Raises ModelDownloadError, InitialisationError, and ValueError for invalid parameters.
    """
    loaded = _load(
        model_name,
        model_type,
        policy=policy or Policy(attempts=max_retries, timeout=timeout, deadline=deadline),
        hub=_hub(hub, token, allow_offline, cache_dir),
        revision=revision,
        tokenizer=False,
        kwargs=kwargs,
    )
    return {"tokenizer": loaded.tokenizer, "config": loaded.config}.get(model_type, loaded.model)


def load_model_and_tokenizer(
    model_name: str,
    model_type: str = "auto",
    max_retries: int = 3,
    timeout: float = 300,
    allow_offline: bool = False,
    token: str | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    deadline: float | None = None,
    policy: Policy | None = None,
    hub: Hub | None = None,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """Load (model, tokenizer) from one commit, as `robust_model_download` does; `kwargs` go to the model alone."""
    if model_type in {"config", "tokenizer"}:
        raise ValueError(f"model_type must be that of a model, got {model_type!r}")
    loaded = _load(
        model_name,
        model_type,
        policy=policy or Policy(attempts=max_retries, timeout=timeout, deadline=deadline),
        hub=_hub(hub, token, allow_offline, cache_dir),
        revision=revision,
        tokenizer=True,
        kwargs=kwargs,
    )
    return loaded.model, loaded.tokenizer


def load_pretrained_model(model_name: str, model_class: str = "AutoModel", **kwargs: Any) -> Any:
    """Call `robust_model_download` by the name of a transformers class. Raises ValueError for an unknown class."""
    if model_class not in _KIND_OF:
        raise ValueError(f"model_class must be one of {', '.join(_KIND_OF)}; got {model_class!r}")
    return robust_model_download(model_name, _KIND_OF[model_class], **kwargs)


def _load(
    model_name: str,
    model_type: str,
    *,
    policy: Policy,
    hub: Hub,
    revision: str | None,
    tokenizer: bool,
    kwargs: dict[str, Any],
) -> Loaded:
    # `load` refuses these keywords, which belong to the request or the Hub, and PHAITA's callers pass them.
    trust = bool(kwargs.pop("trust_remote_code", False))
    kwargs.pop("resume_download", None)  # PHAITA's own code passes it on; every download resumes
    if kwargs.pop("local_files_only", False):
        hub = hub.as_offline()
    if kwargs.pop("force_download", False):  # it is there to replace damaged files, which a digest finds
        kwargs.setdefault("verify", "full")
    request = ModelRequest(model_name, revision or "main", model_type, trust_remote_code=trust)
    return load(request, hub=hub, policy=policy, tokenizer=tokenizer, **kwargs)


def _hub(hub: Hub | None, token: str | None, offline: bool, cache_dir: str | os.PathLike[str] | None) -> Hub:
    if hub is None:
        return Hub(token=token, offline=offline or None, cache_dir=cache_dir)
    if token is not None or cache_dir is not None:
        raise ValueError("give the token and the cache folder to the Hub, or no Hub")
    return hub.as_offline() if offline else hub
