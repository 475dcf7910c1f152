"""The fast way to a model gives what `from_pretrained` gives, bit by bit, or leaves the model to it."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

import pytest

from phaita_loader import ModelRequest, Snapshot
from phaita_loader.initialise import initialise
from phaita_loader.verify import VerifiedSnapshot
from tests.unit.architectures import ARCHITECTURES, inputs, save

pytestmark = pytest.mark.torch

CLASSES = {"auto": "AutoModel", "causal_lm": "AutoModelForCausalLM", "masked_lm": "AutoModelForMaskedLM"}
ALL = [(name, kind) for name, (_, kinds, _) in ARCHITECTURES.items() for kind in kinds]
DTYPES = ("float32", "bfloat16", "float16")
# T5 keeps some of its weights in float32 whatever the others have.
LEFT_TO_TRANSFORMERS = {("t5", "bfloat16"), ("t5", "float16")}


@pytest.fixture(scope="module")
def torch():
    return import_module("torch")


@pytest.fixture(scope="module")
def transformers():
    module = import_module("transformers")
    module.logging.set_verbosity_error()
    return module


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with that model, made once."""
    made = {}

    def of(model_type: str, dtype: str = "float32") -> Path:
        key = (model_type, dtype)
        if key not in made:
            made[key] = save(tmp_path_factory.mktemp(model_type), model_type, dtype)
        return made[key]

    return of


def built(folder: Path, kind: str = "auto", **asked):
    """What the loader makes of a folder; `fast` and `private_copy` are its own, the rest is the request's."""
    own = {name: asked.pop(name) for name in ("fast", "private_copy", "kwargs") if name in asked}
    kwargs = own.pop("kwargs", {})
    snapshot = Snapshot(path=folder, commit="0" * 40, files=(), request=ModelRequest("org/m", kind=kind, **asked))
    return initialise(VerifiedSnapshot(snapshot), **own, **kwargs)


def ties(model):
    """Names that stand for one tensor."""
    groups = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), set()).add(name)
    return sorted(sorted(names) for names in groups.values())


def written(model, folder: Path) -> dict[str, str]:
    model.save_pretrained(folder)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def tensors_of(value):
    """All tensors in what a forward gives."""
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kind"), ALL)
def test_equal(saved, torch, transformers, tmp_path, name, kind, dtype):
    folder = saved(name, dtype)
    before = torch.get_rng_state()
    ours = built(folder, kind)
    assert ours.path == ("from_pretrained" if (name, dtype) in LEFT_TO_TRANSFORMERS else "fast")
    assert torch.equal(torch.get_rng_state(), before)
    theirs = getattr(transformers, CLASSES[kind]).from_pretrained(folder, local_files_only=True)
    assert_equal(torch, ours.model, theirs, tmp_path)
