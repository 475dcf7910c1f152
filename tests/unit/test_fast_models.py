"""A model built the fast way is used like any other: trained, saved, shared, pickled, moved, compiled."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from tests.unit.architectures import inputs, save
from tests.unit.test_fast_way import built, digests

pytestmark = pytest.mark.torch


@pytest.fixture
def folder(tmp_path) -> Path:
    return save(tmp_path / "model", "gpt2")


@pytest.fixture
def ours(folder):
    made = built(folder, "causal_lm")
    assert made.path == "fast"
    return made.model


@pytest.fixture
def theirs(folder, transformers):
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def logits(torch, model):
    with torch.no_grad():
        return model(**inputs(model)).logits


def saved_size(torch, value) -> int:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.tell()


def test_each_tensor_has_a_storage_of_its_own_size(ours):
    for name, tensor in ours.named_parameters():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size(), name


def test_pickles_are_no_larger(torch, ours, theirs):
    for mine, other in ((ours, theirs), (ours.transformer.wte.weight, theirs.transformer.wte.weight)):
        assert len(pickle.dumps(mine)) <= 1.01 * len(pickle.dumps(other))
        assert saved_size(torch, mine) <= 1.01 * saved_size(torch, other)
    again = pickle.loads(pickle.dumps(ours))
    assert again.lm_head.weight is again.transformer.wte.weight
    assert torch.equal(logits(torch, again), logits(torch, theirs))


def test_training_goes_the_same_way_and_leaves_the_file(torch, folder, ours, theirs):
    before = digests(folder)
    losses = []
    for model in (ours, theirs):
        model.train()
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(3):
            given = inputs(model)
            loss = model(**given, labels=given["input_ids"]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name
    assert digests(folder) == before


def test_saving_onto_the_folder_it_came_from(torch, folder, ours, transformers):
    with torch.no_grad():
        ours.transformer.h[0].ln_1.bias.add_(1.0)
    expected = logits(torch, ours)
    ours.save_pretrained(folder)
    assert torch.equal(logits(torch, ours), expected)
    assert torch.equal(logits(torch, transformers.AutoModelForCausalLM.from_pretrained(folder)), expected)
    assert torch.equal(logits(torch, built(folder, "causal_lm").model), expected)


def test_safetensors_saves_it(torch, tmp_path, ours, theirs):
    safetensors = import_module("safetensors.torch")
    safetensors.save_model(ours, str(tmp_path / "ours.safetensors"))
    safetensors.save_model(theirs, str(tmp_path / "theirs.safetensors"))
    one, other = (safetensors.load_file(tmp_path / f"{whose}.safetensors") for whose in ("ours", "theirs"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_shared_memory_is_shared(torch, ours):
    ours.share_memory()
    assert all(parameter.is_shared() for parameter in ours.parameters())
    process = torch.multiprocessing.get_context("fork").Process(target=_change, args=(ours,))
    process.start()
    process.join()
    assert ours.transformer.ln_f.bias.detach()[0].item() == 42.0


def _change(model) -> None:
    model.transformer.ln_f.bias.data[0] = 42.0


def test_moves_and_casts(torch, ours, theirs):
    for move in (lambda model: model.to(torch.float64), lambda model: model.half().float(), copy.deepcopy):
        mine, other = move(ours), move(theirs)
        assert torch.equal(logits(torch, mine), logits(torch, other))
        assert mine.lm_head.weight is mine.transformer.wte.weight
    assert ours.to("meta").transformer.wte.weight.device.type == "meta"


def test_compiled(torch, ours, theirs):
    compiled = torch.compile(ours, backend="eager")
    assert torch.equal(logits(torch, compiled), logits(torch, theirs))


def test_resizing_draws_only_what_is_new(torch, ours, theirs):
    for model in (ours, theirs):
        torch.manual_seed(5)
        model.resize_token_embeddings(100)
    assert torch.equal(ours.transformer.wte.weight, theirs.transformer.wte.weight)
    assert ours.lm_head.weight is ours.transformer.wte.weight


def test_who_changes_the_file_in_place_is_followed_unless_the_copy_is_private(torch, folder, ours, theirs):
    private = built(folder, "causal_lm", private_copy=True).model
    kept = logits(torch, theirs)
    file = folder / "model.safetensors"
    with file.open("r+b") as opened:
        opened.seek(-4096, 2)
        opened.write(bytes(4096))
    assert torch.equal(logits(torch, private), kept)
    assert private.lm_head.weight is private.transformer.wte.weight
    assert not torch.equal(logits(torch, ours), kept)


def test_the_copy_is_private_whichever_way_was_taken(torch, folder, theirs):
    made = built(folder, "causal_lm", private_copy=True, kwargs={"attn_implementation": "eager"})
    assert made.path == "from_pretrained"
    assert made.model.lm_head.weight is made.model.transformer.wte.weight
    kept = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    with (folder / "model.safetensors").open("r+b") as opened:
        opened.seek(-4096, 2)
        opened.write(bytes(4096))
    assert all(torch.equal(made.model.state_dict()[name], tensor) for name, tensor in kept.items())


def test_who_holds_the_lock_may_load(folder):
    with import_module("phaita_loader.initialise").TURN:
        assert built(folder, "causal_lm").path == "fast"


def test_a_file_that_is_replaced_is_not_followed(torch, folder, ours):
    kept = logits(torch, ours)
    file = folder / "model.safetensors"
    (folder / "new").write_bytes(bytes(file.stat().st_size))
    (folder / "new").replace(file)
    assert torch.equal(logits(torch, ours), kept)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what is mapped")
def test_memory_of_a_model_that_is_gone_is_given_back(folder):
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count(str(folder / "model.safetensors"))

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    open_before = descriptors()
    made = [built(folder, "causal_lm").model for _ in range(3)]
    assert mappings() == 3
    assert descriptors() == open_before
    made.clear()
    assert mappings() == 0


def state(model):
    """Return all parameters and buffers, the unsaved ones too, and the names that share a tensor."""
    tensors = {**model.state_dict(keep_vars=True), **dict(model.named_buffers())}
    return tensors, sorted(sorted(name for name in tensors if tensors[name] is one) for one in tensors.values())


def same(torch, one, other) -> bool:
    (mine, ties), (theirs, expected) = state(one), state(other)
    return (
        ties == expected
        and mine.keys() == theirs.keys()
        and all(mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name]) for name in theirs)
    )


@pytest.mark.parametrize("beside", ["ours", "from_pretrained"])
def test_threads(torch, transformers, tmp_path, beside):
    """Four threads use the loader; or three, and one uses plain `from_pretrained`, which takes no turns."""
    plain = transformers.AutoModelForCausalLM.from_pretrained
    folders = {name: save(tmp_path / name, name, "bfloat16") for name in ("gpt2", "mistral", "opt", "qwen2")}
    expected = {name: plain(folder) for name, folder in folders.items()}
    switches = (torch.nn.init.normal_, transformers.PreTrainedModel.tie_weights, torch.get_default_dtype())
    failed: list[str] = []

    def run(name: str, folder: Path, ours: bool) -> None:
        for _ in range(8):
            made = built(folder, "causal_lm") if ours else None
            if made and made.path != "fast":
                failed.append(f"{name} by {made.path}")
            if not same(torch, made.model if made else plain(folder), expected[name]):
                failed.append(name)

    threads = [
        threading.Thread(target=run, args=(name, folder, beside == "ours" or name != "mistral"))
        for name, folder in folders.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert switches == (torch.nn.init.normal_, transformers.PreTrainedModel.tie_weights, torch.get_default_dtype())


def test_no_switch_of_the_process_is_touched(torch, transformers, folder, monkeypatch):
    """Drawing values the usual way would patch torch.nn.init meanwhile."""
    touched: list[str] = []
    monkeypatch.setattr(torch, "set_default_dtype", lambda _: touched.append("default dtype"))
    walk = transformers.PreTrainedModel.initialize_weights

    def initialize_weights(model):
        touched.append("init")
        return walk(model)

    monkeypatch.setattr(transformers.PreTrainedModel, "initialize_weights", initialize_weights)
    assert built(folder, "causal_lm").path == "fast"
    assert touched == []
