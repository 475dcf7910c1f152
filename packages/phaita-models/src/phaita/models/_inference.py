"""Helpers for inference on texts of any length: batches of similar length, padding, and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["batches", "default_device", "evaluating", "max_positions", "pad", "token_limit"]


def batches(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield batches of row indices, of similar length, longest first; rows times the longest are at most `room` tokens.

    A row longer than `room` is a batch of its own. Longest first, so that a lack of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    start = 0
    while start < len(order):
        size = max(1, room // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def pad(
    rows: Sequence[Sequence[int]], fill: int, side: Literal["left", "right"], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask of rows of any length, both [B, T]."""
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return (
        pad_sequence(ids, batch_first=True, padding_value=fill, padding_side=side).to(device),
        pad_sequence(mask, batch_first=True, padding_side=side).to(device),
    )


def token_limit(model: Any, tokenizer: Any, wanted: int) -> int:
    """Return the token limit of a row: `wanted`, or less if model or tokenizer have fewer positions."""
    return int(min(wanted, max_positions(model) or wanted, tokenizer.model_max_length))


def max_positions(model: Any) -> int | None:
    """Return the number of positions of a transformers model, or None without a limit.

    DeBERTa's positions are relative, for any number of tokens; RoBERTa's begin after the padding index.
    """
    count = getattr(model.config, "max_position_embeddings", None) or 0
    if count < 1 or not getattr(model.config, "position_biased_input", True):  # XLNet's count is -1
        return None
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return int(count if padding is None else count - padding - 1)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Set evaluation mode inside the context; afterwards restore the mode of each module."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def default_device(device: str | None) -> str:
    """Return the given device, else CUDA if available, else the CPU."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
