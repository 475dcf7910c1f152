"""The fast way to a model gives what `from_pretrained` gives, bit by bit, or leaves the model to it."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path

import pytest

from phaita_loader import InitialisationError, ModelRequest, Snapshot
from phaita_loader.initialise import BuildOptions, initialise
from phaita_loader.verify import VerifiedSnapshot
from tests.unit.architectures import ARCHITECTURES, inputs, save

pytestmark = pytest.mark.torch

CLASSES = {"auto": "AutoModel", "causal_lm": "AutoModelForCausalLM", "masked_lm": "AutoModelForMaskedLM"}
ALL = [(name, kind) for name, (_, kinds, _) in ARCHITECTURES.items() for kind in kinds]
DTYPES = ("float32", "bfloat16", "float16")
# T5 keeps some of its weights in float32 whatever the others have.
LEFT_TO_TRANSFORMERS = {("t5", "bfloat16"), ("t5", "float16")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a function that gives the folder of a model, made once."""
    made = {}

    def of(model_type: str, dtype: str = "float32", kind: str = "") -> Path:
        key = (model_type, dtype, kind)
        if key not in made:
            made[key] = save(tmp_path_factory.mktemp(model_type), *key[:2], kind=kind)
        return made[key]

    return of


def built(folder: Path, kind: str = "auto", **asked):
    """Build the model in a folder; `fast`, `private_copy` and `kwargs` go to the loader, the rest to the request."""
    own = {name: asked.pop(name) for name in ("fast", "private_copy", "kwargs") if name in asked}
    kwargs = own.pop("kwargs", {})
    snapshot = Snapshot(path=folder, commit="0" * 40, files=(), request=ModelRequest("org/m", kind=kind, **asked))
    return initialise(VerifiedSnapshot(snapshot), **own, **kwargs)


def ties(model):
    """Return the groups of names that share a tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), set()).add(name)
    return sorted(sorted(names) for names in groups.values())


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def written(model, folder: Path) -> dict[str, str]:
    model.save_pretrained(folder)
    return digests(folder)


def tensors_of(value):
    """Return all tensors in the output of a forward."""
    if hasattr(value, "dtype"):
        return [value]
    if hasattr(value, "to_tuple"):
        value = value.to_tuple()
    return [tensor for one in value for tensor in tensors_of(one)] if isinstance(value, (list, tuple)) else []


def assert_equal(torch, ours, theirs, tmp_path: Path) -> None:
    assert type(ours) is type(theirs)
    for names in ("state_dict", "named_buffers", "named_parameters"):
        mine, other = dict(named(ours, names)), dict(named(theirs, names))
        assert list(mine) == list(other)
        for name, tensor in other.items():
            assert mine[name].dtype == tensor.dtype, name
            assert mine[name].requires_grad == tensor.requires_grad, name
            assert mine[name].is_contiguous(), name
            assert torch.equal(mine[name], tensor), name
    assert ties(ours) == ties(theirs)
    assert ours.config.__dict__ == theirs.config.__dict__
    assert getattr(ours, "generation_config", None) == getattr(theirs, "generation_config", None)
    assert [module.training for module in ours.modules()] == [module.training for module in theirs.modules()]
    for mine, other in zip(ours.modules(), theirs.modules(), strict=True):
        assert mine.__dict__.keys() == other.__dict__.keys(), type(mine)
    with torch.no_grad():
        answers, expected = (tensors_of(model(**inputs(model))) for model in (ours, theirs))
    assert len(answers) == len(expected) > 0
    assert all(torch.equal(mine, other) for mine, other in zip(answers, expected, strict=True))
    assert written(ours, tmp_path / "ours") == written(theirs, tmp_path / "theirs")


def named(model, what: str):
    found = getattr(model, what)()
    return found.items() if isinstance(found, dict) else found


def test_the_fast_way_takes_what_is_compared_here_and_nothing_else():
    compared = import_module("phaita_loader._build.fast").COMPARED
    assert {(name, kind) for name, kinds in compared.items() for kind in kinds} == set(ALL)


def test_what_was_not_compared_is_left_to_transformers(saved):
    assert built(saved("gpt2"), "sequence_classification").path == "from_pretrained"


def test_options_stand_in_for_the_keywords(saved):
    snapshot = Snapshot(path=saved("bert"), commit="0" * 40, files=(), request=ModelRequest("org/m"))
    assert initialise(VerifiedSnapshot(snapshot), BuildOptions(fast=False)).path == "from_pretrained"
    ringed = initialise(VerifiedSnapshot(snapshot), BuildOptions(engine="ring"), fast=False)
    assert (ringed.path, ringed.engine) == ("fast", "ring")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_equal(saved, torch, transformers, tmp_path, name, kind, dtype):
    folder = saved(name, dtype, kind)
    before = torch.get_rng_state()
    ours = built(folder, kind)
    assert ours.path == ("from_pretrained" if (name, dtype) in LEFT_TO_TRANSFORMERS else "fast")
    assert torch.equal(torch.get_rng_state(), before)
    theirs = getattr(transformers, CLASSES[kind]).from_pretrained(folder, local_files_only=True)
    assert_equal(torch, ours.model, theirs, tmp_path)


def test_other_layouts_of_the_same_weights_are_equal(torch, transformers, tmp_path):
    sharded = save(tmp_path / "sharded", "gpt2", max_shard_size="30KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    ours = built(sharded, "causal_lm")
    assert ours.path == "fast"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(sharded)
    assert_equal(torch, ours.model, theirs, tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "generation_config.json"):
        (pickled / name).write_bytes((sharded / name).read_bytes())
    torch.save(theirs.state_dict(), pickled / "pytorch_model.bin")
    again = built(pickled, "causal_lm")
    assert again.path == "fast"
    assert_equal(torch, again.model, transformers.AutoModelForCausalLM.from_pretrained(pickled), tmp_path / "again")


def test_generation_settings_in_the_configuration_are_found(saved, transformers, tmp_path):
    """Repos from before generation_config.json have them there."""
    folder = tmp_path / "old"
    folder.mkdir()
    config = json.loads((saved("gpt2") / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_length": 33, "do_sample": True}))
    (folder / "model.safetensors").write_bytes((saved("gpt2") / "model.safetensors").read_bytes())
    ours = built(folder, "causal_lm")
    assert ours.path == "fast"
    assert ours.model.generation_config.max_length == 33
    expected = transformers.AutoModelForCausalLM.from_pretrained(folder).generation_config
    assert ours.model.generation_config == expected


@pytest.mark.parametrize("asked", ["float32", "float16", "bfloat16", "auto"])
def test_another_dtype_than_the_files(saved, torch, transformers, tmp_path, asked):
    folder = saved("mistral", "bfloat16")
    ours = built(folder, "causal_lm", dtype=asked)
    assert ours.path == "fast"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=asked)
    assert_equal(torch, ours.model, theirs, tmp_path)


def test_arguments_of_the_class_and_the_configuration_are_the_fast_way_s_too(saved, torch, transformers, tmp_path):
    kwargs = {"add_pooling_layer": False, "output_hidden_states": True}
    ours = built(saved("bert"), kwargs=kwargs)
    assert ours.path == "fast"
    assert ours.model.pooler is None
    assert_equal(torch, ours.model, transformers.AutoModel.from_pretrained(saved("bert"), **kwargs), tmp_path)


@pytest.mark.parametrize(
    "kwargs",
    [{"attn_implementation": "eager"}, {"device_map": None}, {"use_safetensors": True}, {"torch_dtype": "auto"}],
    ids=str,
)
def test_arguments_of_from_pretrained_go_to_it(saved, kwargs):
    ours = built(saved("bert"), kwargs=kwargs)
    assert ours.path == "from_pretrained"
    assert ours.model.config._attn_implementation == kwargs.get("attn_implementation", "sdpa")


def test_fast_can_be_refused(saved):
    assert built(saved("bert"), fast=False).path == "from_pretrained"


def test_what_the_files_lack_is_left_to_transformers(saved, torch):
    """It draws the new head at random: the same one for the same seed."""
    folder, heads = saved("roberta"), []
    for fast in (True, False):
        torch.manual_seed(3)
        ours = built(folder, "sequence_classification", fast=fast)
        assert ours.path == "from_pretrained"
        heads.append(ours.model.classifier.dense.weight)
    assert torch.equal(*heads)


def tweak(folder: Path, target: Path, change) -> Path:
    """Save a copy of a saved model with other weights; return its folder."""
    safetensors = import_module("safetensors.torch")
    target.mkdir()
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = change(safetensors.load_file(folder / "model.safetensors"))
    safetensors.save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


def test_weights_that_the_class_does_not_know_are_left_out(saved, torch, transformers, tmp_path):
    folder = tweak(saved("bert"), tmp_path / "more", lambda weights: {**weights, "another.head": torch.ones(3)})
    ours = built(folder)
    assert ours.path == "fast"
    assert_equal(torch, ours.model, transformers.AutoModel.from_pretrained(folder), tmp_path)


def test_a_tied_weight_that_differs_is_left_to_transformers(saved, torch, tmp_path):
    """It keeps the two apart, and says so."""

    def change(weights):
        return {**weights, "lm_head.weight": weights["transformer.wte.weight"] + 1}

    ours = built(tweak(saved("gpt2"), tmp_path / "untied", change), "causal_lm")
    assert ours.path == "from_pretrained"
    assert not torch.equal(ours.model.lm_head.weight, ours.model.transformer.wte.weight)


def test_old_names_are_renamed_as_transformers_does(saved, torch, transformers, tmp_path):
    def change(weights):
        return {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in weights.items()}

    folder = tweak(saved("bert"), tmp_path / "old", change)
    ours = built(folder)
    assert ours.path == "fast"
    assert_equal(torch, ours.model, transformers.AutoModel.from_pretrained(folder), tmp_path)


def test_weights_that_are_converted_are_left_to_transformers(torch, transformers, tmp_path):
    config = transformers.MixtralConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        vocab_size=96,
        num_local_experts=2,
    )
    transformers.MixtralForCausalLM(config).save_pretrained(tmp_path / "mixtral")
    ours = built(tmp_path / "mixtral", "causal_lm")
    assert ours.path == "from_pretrained"
    assert_equal(torch, ours.model, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "mixtral"), tmp_path)


def test_a_default_device_is_left_to_transformers(saved, torch):
    """It refuses this one."""
    folder = saved("bert")
    with torch.device("meta"), pytest.raises(InitialisationError, match="meta device"):
        built(folder)


def test_remote_code_is_neither_run_nor_asked_for(tmp_path, monkeypatch):
    """transformers would ask on the terminal; here nobody answers."""
    folder = tmp_path / "remote"
    folder.mkdir()
    told = {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(InitialisationError, match="ValueError: The repository"):
        built(folder)
    assert not (tmp_path / "ran").exists()


def test_a_wider_head_of_the_same_bytes_is_no_tie(torch, transformers, tmp_path):
    """A pickled transpose lies where the embedding lies."""
    folder = tmp_path / "transposed"
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=32, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    weights = model.state_dict()
    torch.save({**weights, "lm_head.weight": weights["transformer.wte.weight"].t()}, folder / "pytorch_model.bin")
    ours = built(folder, "causal_lm")
    assert ours.path == "from_pretrained"
    assert not torch.equal(ours.model.lm_head.weight, ours.model.transformer.wte.weight)


@pytest.mark.parametrize(
    ("name", "content"),
    [("adapter_config.json", {"peft_type": "LORA"}), ("config.json", {"auto_map": {"AutoModel": "code.Model"}})],
)
def test_more_than_a_model_in_a_folder_is_not_fast(saved, tmp_path, name, content):
    fast, names = import_module("phaita_loader._build.fast"), import_module("phaita_loader._build.weight_names")
    folder = tweak(saved("bert"), tmp_path / "more", dict)
    there = folder / name
    known = json.loads(there.read_text()) if there.exists() else {}
    there.write_text(json.dumps({**known, **content}))
    with pytest.raises(names.NotFast):
        fast.build(folder, ModelRequest("org/m"), BuildOptions(), {})


def test_the_guide_names_what_is_compared():
    compared = import_module("phaita_loader._build.fast").COMPARED
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    for kind in CLASSES:
        names = sorted(name for name, kinds in compared.items() if kind in kinds)
        assert f"| `{kind}` | {', '.join(names)} |" in guide
