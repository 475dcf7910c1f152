"""Replicas too large for memory are written shard by shard, and load like any other model."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
streamed = import_module("tests.hub.streamed")


@pytest.fixture
def config() -> Any:
    return transformers.MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def write(config: Any, folder: Path) -> Path:
    streamed.write_shards(transformers.MistralForCausalLM, config, torch.bfloat16, 7, folder)
    config.save_pretrained(folder)
    return folder


def test_transformers_finds_every_weight_in_several_shards(config: Any, tmp_path: Path) -> None:
    model, info = transformers.MistralForCausalLM.from_pretrained(
        write(config, tmp_path), dtype=torch.bfloat16, output_loading_info=True
    )
    assert [info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")] == [set(), set(), set()]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(model.state_dict())
    assert set(index["weight_map"].values()) == {path.name for path in tmp_path.glob("*.safetensors")}
    assert len(set(index["weight_map"].values())) >= 3
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in model.state_dict().values())


def test_norms_do_nothing_and_matrices_have_the_configs_deviation(config: Any, tmp_path: Path) -> None:
    model = transformers.MistralForCausalLM.from_pretrained(write(config, tmp_path), dtype=torch.bfloat16)
    assert torch.equal(model.model.norm.weight, torch.ones(32, dtype=torch.bfloat16))
    deviation = model.lm_head.weight.float().std().item()
    assert deviation == pytest.approx(config.initializer_range, rel=0.1)


def test_the_same_seed_gives_the_same_files(config: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(config, tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("model-*")} for name in ("one", "two"))
    assert len(one) >= 3
    assert one == two
