"""A comparison of two models, bit by bit."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from .use import forward, tensors


def differences(found: Any, expected: Any) -> list[str]:
    """Return the differences as sentences; empty for the same class, state, buffers, tying, mode and answer."""
    told = [] if type(found) is type(expected) else [f"class: {type(found).__name__}"]
    ours, theirs = dict(tensors(found)), dict(tensors(expected))
    told += [f"names: {name}" for name in sorted(ours.keys() ^ theirs.keys())]
    told += [f"bits: {name}" for name in sorted(ours.keys() & theirs.keys()) if not equal(ours[name], theirs[name])]
    told += [f"state: {name}" for name in sorted(found.state_dict().keys() ^ expected.state_dict().keys())]
    told += [] if tied(found) == tied(expected) else [f"tying: {tied(found)}, not {tied(expected)}"]
    told += ["training mode"] if found.training else []
    return told + ([] if equal(forward(found), forward(expected)) else ["forward"])


def equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """True if dtype, shape, device and bits are equal: NaN equals itself, and 0.0 differs from -0.0."""
    if (one.dtype, one.shape, one.device) != (other.dtype, other.shape, other.device):
        return False
    bits = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (one, other)]
    return bool(torch.equal(*bits))


def tied(model: Any) -> set[tuple[str, ...]]:
    """The groups of parameters that are one and the same memory."""
    groups = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups[parameter.data_ptr(), parameter.shape].append(name)
    return {tuple(sorted(names)) for names in groups.values() if len(names) > 1}
