"""Texts of any length through a model: batches of like length, padding, and dropout that is off while it matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["batches", "default_device", "evaluating", "padded", "positions", "room_for"]


def batches(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Indices of rows in batches of like length, the longest first: rows times the longest stay within `room` tokens.

    A row that is longer than the room is a batch of its own. Longest first: what does not fit in memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    start = 0
    while start < len(order):
        size = max(1, room // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def padded(
    rows: Sequence[Sequence[int]], fill: int, side: Literal["left", "right"], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of rows of any length, both [B, T]."""
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return (
        pad_sequence(ids, batch_first=True, padding_value=fill, padding_side=side).to(device),
        pad_sequence(mask, batch_first=True, padding_side=side).to(device),
    )


def room_for(model: Any, tokenizer: Any, wanted: int) -> int:
    """How many tokens a row may have: `wanted`, or what model and tokenizer have positions for."""
    return int(min(wanted, positions(model) or wanted, tokenizer.model_max_length))


def positions(model: Any) -> int | None:
    """How many tokens a row of the model of transformers may have; None where their number has no limit.

    DeBERTa's positions are relative, for any number of tokens; RoBERTa's begin after that of the padding.
    """
    count = getattr(model.config, "max_position_embeddings", None) or 0
    if count < 1 or not getattr(model.config, "position_biased_input", True):  # XLNet's count is -1
        return None
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return int(count if padding is None else count - padding - 1)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """No dropout inside; afterwards each module trains again that did before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def default_device(device: str | None) -> str:
    """The device that was asked for, else CUDA where there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
