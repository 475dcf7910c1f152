"""Build a text encoder of transformers, and encode texts with it."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from phaita.models._inference import pad, token_limit
from phaita_loader import Hub, Loaded, ModelRequest, Policy, load
from phaita_loader.policy import Deadline

__all__ = [
    "encoder_config",
    "load_cached_encoder",
    "mean_pool",
    "rebuild_encoder",
    "remove_pooler",
    "tokenize",
]

_TOKENIZING = threading.Lock()
"""The lock around calls of a tokenizer, which stores the truncation length as its own state."""


def load_cached_encoder(request: ModelRequest, hub: Hub, policy: Policy, deadline: Deadline) -> Loaded:
    """Load an encoder without a pooler, and its tokenizer, from the cache alone.

    Raises InitialisationError, ModelDownloadError.
    """
    from transformers import MODEL_MAPPING

    offline = hub.as_offline()
    config = load(replace(request, kind="config"), hub=offline, policy=policy, deadline=deadline).config
    kind = MODEL_MAPPING.get(type(config), object)
    return load(request, hub=offline, policy=policy, deadline=deadline, **_without_pooler(kind))


def encoder_config(encoder: Any) -> dict[str, Any]:
    """Return the configuration from which `rebuild_encoder` builds the encoder, as JSON values."""
    config = json.loads(encoder.config.to_json_string(use_diff=False))
    config.pop("_name_or_path", None)  # it may be a folder of this machine
    return {**config, "architectures": [type(encoder).__name__]}


def rebuild_encoder(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Any:
    """Build the encoder of that configuration with these weights. Raises the errors of transformers, and TypeError."""
    import transformers

    settings = transformers.AutoConfig.for_model(**config)
    kind = getattr(transformers, settings.architectures[0])
    if not issubclass(kind, transformers.PreTrainedModel):
        raise TypeError(f"{kind.__name__} is not a model of transformers")
    dtype = next(one.dtype for one in weights.values() if one.is_floating_point())
    # Given a state dict, transformers does not initialise the weights at random, which would take most of the time.
    return kind.from_pretrained(None, config=settings, state_dict=dict(weights), dtype=dtype, **_without_pooler(kind))


def remove_pooler(encoder: Any) -> None:
    """Remove the pooler where the class can be built without one: it would be neither used nor trained."""
    if _without_pooler(type(encoder)):
        encoder.pooler = None


def _without_pooler(kind: Any) -> dict[str, Any]:
    """Return the keyword argument that builds an encoder of that class without a pooler, if it has one."""
    has_option = isinstance(kind, type) and "add_pooling_layer" in inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if has_option else {}


def tokenize(encoder: Any, tokenizer: Any, texts: list[str], longest: int) -> tuple[list[list[int]], list[bool]]:
    """Return the token ids of each text, at most `longest` or the encoder's limit, and True for each truncated text."""
    if not texts:
        return [], []
    limit = token_limit(encoder, tokenizer, longest)
    with _TOKENIZING:
        # One token more than the limit shows whether a text is longer, without tokenizing all of a very long one.
        tokens = tokenizer(texts, truncation=True, max_length=limit + 1)["input_ids"]
        truncated = [len(row) > limit for row in tokens]
        if any(truncated):
            tokens = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
    return tokens, truncated


def mean_pool(encoder: Any, tokens: list[list[int]], padding: int) -> Tensor:
    """Return the mean over each text's tokens, [B, W], as sentence-transformers pools MiniLM.

    Not the first token's state: before fine-tuning it carries no meaning in models such as DeBERTa, whose pre-training
    gives it no task.
    """
    rows = [row or [padding] for row in tokens]  # an empty text may have no token
    ids, mask = pad(rows, padding, "right", encoder.device)  # [B, T]
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # [B, T, W]
    weights = mask.unsqueeze(-1).to(states.dtype)  # [B, T, 1]
    return (states * weights).sum(1) / weights.sum(1)
