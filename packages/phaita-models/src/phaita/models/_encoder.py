"""Build a text encoder of transformers, and turn texts into features by it."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from phaita.models._inference import padded, room_for
from phaita_loader import Hub, Loaded, ModelRequest, Policy, load
from phaita_loader.policy import Deadline

__all__ = [
    "cached_encoder",
    "configuration",
    "drop_pooler",
    "pooled",
    "rebuilt_encoder",
    "tokenized",
]

_TOKENIZING = threading.Lock()
"""A tokenizer keeps the length that it truncates to as a state of its own."""


def cached_encoder(request: ModelRequest, hub: Hub, policy: Policy, deadline: Deadline) -> Loaded:
    """Load an encoder without a pooler, and its tokenizer, from the cache alone.

    Raises InitialisationError, ModelDownloadError.
    """
    from transformers import MODEL_MAPPING

    offline = hub.as_offline()
    config = load(replace(request, kind="config"), hub=offline, policy=policy, deadline=deadline).config
    kind = MODEL_MAPPING.get(type(config), object)
    return load(request, hub=offline, policy=policy, deadline=deadline, **_without_pooler(kind))


def configuration(encoder: Any) -> dict[str, Any]:
    """What `rebuilt_encoder` needs to know of an encoder, as JSON can hold it."""
    config = json.loads(encoder.config.to_json_string(use_diff=False))
    config.pop("_name_or_path", None)  # a folder of this machine
    return {**config, "architectures": [type(encoder).__name__]}


def rebuilt_encoder(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Any:
    """The encoder of that configuration, with these weights. Raises what transformers raises, and TypeError."""
    import transformers

    settings = transformers.AutoConfig.for_model(**config)
    kind = getattr(transformers, settings.architectures[0])
    if not issubclass(kind, transformers.PreTrainedModel):
        raise TypeError(f"{kind.__name__} is no model of transformers")
    dtype = next(one.dtype for one in weights.values() if one.is_floating_point())
    # Given a state dict transformers does not draw every weight at random first, which takes far longer than the rest.
    return kind.from_pretrained(None, config=settings, state_dict=dict(weights), dtype=dtype, **_without_pooler(kind))


def drop_pooler(encoder: Any) -> None:
    """Take out a pooler that the encoder could be built without: nothing here would use or train it."""
    if _without_pooler(type(encoder)):
        encoder.pooler = None


def _without_pooler(kind: Any) -> dict[str, Any]:
    """The keyword by which an encoder of that class leaves out its pooler."""
    takes_it = isinstance(kind, type) and "add_pooling_layer" in inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if takes_it else {}


def tokenized(encoder: Any, tokenizer: Any, texts: list[str], longest: int) -> tuple[list[list[int]], list[bool]]:
    """Ids of each text's tokens, at most `longest` and what there is room for, and whether some were cut off."""
    if not texts:
        return [], []
    limit = room_for(encoder, tokenizer, longest)
    with _TOKENIZING:
        tokens = tokenizer(texts, truncation=True, max_length=limit + 1)["input_ids"]
        truncated = [len(row) > limit for row in tokens]
        if any(truncated):
            tokens = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
    return tokens, truncated


def pooled(encoder: Any, tokens: list[list[int]], padding: int) -> Tensor:
    """The mean over each text's tokens, [B, W]: how sentence-transformers pools MiniLM.

    The first token's state would mean nothing before fine-tuning where pre-training gave it no task, as in DeBERTa.
    """
    rows = [row or [padding] for row in tokens]  # an empty text may have no token at all
    ids, mask = padded(rows, padding, "right", encoder.device)  # [B, T]
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # [B, T, W]
    weights = mask.unsqueeze(-1).to(states.dtype)  # [B, T, 1]
    return (states * weights).sum(1) / weights.sum(1)
