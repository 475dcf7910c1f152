"""The actions on a timed model: reading every byte, a forward, an optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

from tests.bench.device import synchronise

_TOKENS = 16


def tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers by name, those that share their memory each for itself."""
    return chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))


@torch.inference_mode()
def touch(model: Any) -> None:
    """Read every byte once: a sum reads all elements and runs at the memory's speed."""
    seen = {tensor.data_ptr(): tensor for _, tensor in tensors(model)}
    for tensor in seen.values():
        tensor.sum()
    synchronise()


def batch(model: Any) -> dict[str, torch.Tensor]:
    """One text of 16 tokens."""
    return {"input_ids": torch.arange(5, 5 + _TOKENS, device=model.device)[None]}


@torch.inference_mode()
def forward(model: Any) -> Any:
    """The model's answer to one text."""
    answer = model(**batch(model))[0]
    synchronise()
    return answer


def step(model: Any) -> None:
    """One step of plain SGD, which keeps nothing but the gradients."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(**batch(model))[0].float().mean().backward()
    optimizer.step()
    synchronise()


def peaks() -> dict[str, int]:
    """The most bytes of the device allocated and reserved since the process began; empty without CUDA."""
    if not torch.cuda.is_initialized():
        return {}
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
