"""The bench's comparison of two models finds what differs, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
same = import_module("tests.bench.initialise.same")
use = import_module("tests.bench.initialise.use")


def model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=32, n_positions=32)
    return transformers.GPT2LMHeadModel(config).eval()


def untie(model: Any) -> None:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())


def negate_a_zero(model: Any) -> None:
    model.transformer.ln_f.bias.data[0] = -0.0


DAMAGES: list[tuple[Callable[[Any], object], set[str]]] = [
    (untie, {"tying: set(), not {('lm_head.weight', 'transformer.wte.weight')}"}),
    (negate_a_zero, {"bits: transformer.ln_f.bias"}),
    (lambda model: model.register_buffer("more", torch.zeros(1), persistent=False), {"names: more"}),
    (lambda model: model.register_buffer("more", torch.zeros(1)), {"names: more", "state: more"}),
    (lambda model: model.train(), {"training mode", "forward"}),
]


def test_a_copy_is_the_same() -> None:
    assert same.differences(model(), model()) == []


@pytest.mark.parametrize(("damage", "told"), DAMAGES, ids=["untied", "zero", "buffer", "state", "training"])
def test_any_difference_is_told(damage: Callable[[Any], object], told: set[str]) -> None:
    damaged = model()
    damage(damaged)
    assert set(same.differences(damaged, model())) == told


def test_other_weights_and_other_classes_differ() -> None:
    differences = same.differences(model(seed=1), model())
    assert {"bits: lm_head.weight", "forward"} <= set(differences)
    assert "class: GPT2Model" in same.differences(model().transformer, model())


def test_equal_is_about_bits() -> None:
    nan = torch.tensor([float("nan")])
    assert same.equal(nan, nan.clone())
    assert not same.equal(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same.equal(torch.zeros(1), torch.zeros(1, dtype=torch.int32))
    assert not same.equal(torch.zeros(2, 1), torch.zeros(1, 2))
    assert same.equal(torch.zeros(2, 3).t(), torch.zeros(3, 2))
    assert same.equal(torch.tensor(True), torch.tensor(True))


def test_what_is_done_with_a_model_leaves_it_usable() -> None:
    used = model()
    use.touch(used)
    assert same.differences(used, model()) == []
    use.step(used)
    assert used.training
    assert {name for name, _ in use.tensors(used)} == {name for name, _ in use.tensors(model())}
    assert "bits: lm_head.weight" in same.differences(used, model())
