"""The mode's effect on the functions of torch that modules are made with."""

from __future__ import annotations

from importlib import import_module

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def skeleton():
    return import_module("phaita_loader._build.skeleton").Skeleton


def test_no_value_is_drawn_for_a_parameter(torch, skeleton):
    before = torch.get_rng_state()
    with skeleton(torch.float32):
        layer = torch.nn.Linear(3, 5)
        torch.nn.init.normal_(layer.weight)
        token = torch.nn.Parameter(torch.randn(2, 2))
    assert torch.equal(torch.get_rng_state(), before)
    layer.weight.data = kept = torch.ones(5, 3)
    with skeleton(torch.float32):
        torch.nn.init.zeros_(layer.weight)
        layer.weight.copy_(torch.zeros(5, 3))
    assert torch.equal(layer.weight, kept)
    assert token.shape == (2, 2)


def test_buffers_are_computed(torch, skeleton):
    with skeleton(torch.float32):
        positions = torch.zeros(3).add_(1)
        ids = torch.arange(4).expand(1, -1).clone()
    assert positions.tolist() == [1.0, 1.0, 1.0]
    assert ids.tolist() == [[0, 1, 2, 3]]


MADE = {
    "zeros": lambda torch: torch.zeros(2),
    "full": lambda torch: torch.full((2,), 1.5),
    "tensor": lambda torch: torch.tensor([[1.5]]),
    "arange": lambda torch: torch.arange(0.0, 1.0, 0.5),
    "linspace": lambda torch: torch.linspace(0, 1, 3),
    "randn": lambda torch: torch.randn(2),
    "of a linear layer": lambda torch: torch.nn.Linear(2, 2).weight,
    "of an embedding": lambda torch: torch.nn.Embedding(4, 2, padding_idx=0).weight,
    "whole numbers": lambda torch: torch.arange(3),
    "of a list of whole numbers": lambda torch: torch.tensor([1, 2]),
    "whole numbers cast": lambda torch: torch.arange(3).float(),
    "asked for": lambda torch: torch.zeros(2, dtype=torch.float64),
    "like another": lambda torch: torch.ones_like(torch.zeros(2, dtype=torch.float64)),
    "of numpy": lambda torch: torch.tensor(import_module("numpy").ones(2)),
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_factories_give_what_they_give_under_that_default(torch, skeleton, made, dtype):
    wanted = getattr(torch, dtype)
    with skeleton(wanted) as mode:
        ours = made(torch)
    try:
        torch.set_default_dtype(wanted)
        assert ours.dtype == made(torch).dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert mode.unclear == set()


@pytest.mark.parametrize("operation", [lambda whole: whole / 3, lambda whole: whole * 0.5, lambda whole: whole.sqrt()])
def test_a_dtype_that_torch_s_default_decides_is_unclear(torch, skeleton, operation):
    with skeleton(torch.bfloat16) as mode:
        operation(torch.arange(3))
    assert len(mode.unclear) == 1
    with skeleton(torch.float32) as mode:
        operation(torch.arange(3))
    assert mode.unclear == set()


def test_large_blanks_are_as_torch_makes_them(torch, skeleton):
    """They are mapped pages that the C library does not know of."""
    with skeleton(torch.bfloat16):
        made = [torch.empty((1000, 1000)), torch.zeros(1000, 1000), torch.empty(torch.Size([1000, 1000]))]
        apart = torch.zeros(1000, 1000, device="meta")
        whole = torch.zeros(1000, 1000, dtype=torch.int64)
        counted = torch.zeros(1000, 1000, requires_grad=True)
    for tensor in made:
        assert (tensor.shape, tensor.dtype) == ((1000, 1000), torch.bfloat16)
        tensor += 1
        assert tensor.sum() == 1_000_000
    assert apart.is_meta
    assert whole.dtype == torch.int64
    assert counted.requires_grad
