"""The discriminator around an encoder made in memory: that it is a module like any other."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections import Counter
from importlib import import_module
from typing import Any

import pytest

from phaita.utils.config import Config, ModelConfig
from tests.unit.encoders import COUGH, TEXTS, WHEEZE, assert_alike, discriminator, encoder, predicted

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
phaita = import_module("phaita.models.discriminator")


@pytest.fixture
def model():
    return discriminator()


def test_forward_gives_logits_and_scores(model):
    scores = model(TEXTS)
    assert set(scores) == {"diagnosis_logits", "discriminator_scores"}
    assert scores["diagnosis_logits"].shape == (5, 10)
    assert scores["discriminator_scores"].shape == (5, 1)
    assert ((scores["discriminator_scores"] > 0) & (scores["discriminator_scores"] < 1)).all()


def test_what_is_no_list_of_texts_is_refused(model):
    not_texts: list[Any] = [COUGH, float("nan")]
    with pytest.raises(ValueError, match="one complaint or more"):
        model([])
    with pytest.raises(TypeError, match="not one text"):
        model(COUGH)
    with pytest.raises(TypeError, match=r"complaints\[1\] is of type float"):
        predicted(model, not_texts)
    assert predicted(model, []) == []


@pytest.mark.parametrize("use_graph", [True, False])
def test_gradients_reach_every_parameter(use_graph):
    model = discriminator(use_graph=use_graph).train()
    scores = model(TEXTS)
    wanted = torch.nn.functional.cross_entropy(scores["diagnosis_logits"], torch.arange(5))
    (wanted + scores["discriminator_scores"].sum()).backward()
    gradients = {name: one.grad for name, one in model.named_parameters()}
    assert all(one is not None and one.isfinite().all() for one in gradients.values())
    # In theory attention's softmax leaves the biases of BERT's keys none, so the encoder's may be zero.
    assert [name for name, one in gradients.items() if not one.any() and not name.startswith("encoder.")] == []


def test_no_pooler_is_left_in_an_encoder_that_had_one(model):
    assert encoder(10).pooler is not None
    assert not [name for name in model.state_dict() if "pooler" in name]


def test_without_the_graph_there_is_none():
    model = discriminator(use_graph=False)
    assert not [name for name, _ in model.named_modules() if name.startswith("graph")]
    assert predicted(model, TEXTS)[0][0].evidence


def test_a_text_does_not_depend_on_its_batch(model):
    together = model(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = model([text])
        for name, scores in alone.items():
            torch.testing.assert_close(scores[0], together[name][row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_every_module_keeps_its_own_mode(model, fails):
    model.train()
    model.encoder.eval()
    model.fusion.dropout.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    seen = []

    def look(module, *_):
        seen.append(any(one.training for one in model.modules()))
        if fails:
            raise ZeroDivisionError

    model.fusion.register_forward_hook(look)
    if fails:
        with pytest.raises(ZeroDivisionError):
            predicted(model, TEXTS)
    else:
        predicted(model, TEXTS)
    assert seen == [False]
    assert {name: module.training for name, module in model.named_modules()} == modes


def test_hooks_of_every_module_run(model):
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    model(TEXTS)
    for expected in ("", "encoder", "norm", "graph", "graph.layers.0", "graph.layers.1", "fusion", "fusion.diagnosis"):
        assert calls[expected] == 1, expected
    predicted(model, TEXTS)
    assert calls["fusion"] == 2


def test_a_hook_may_change_what_comes_out(model):
    model.fusion.register_forward_hook(lambda module, inputs, output: (output[0] * 0, output[1]))
    assert predicted(model, [WHEEZE])[0][0].probability == pytest.approx(0.1)


def test_its_state_is_tensors(model):
    state = model.state_dict()
    assert state
    assert all(type(one) is torch.Tensor for one in state.values())
    other = discriminator(seed=1)
    assert predicted(other, TEXTS) != predicted(model, TEXTS)
    other.load_state_dict(state)
    assert predicted(other, TEXTS) == predicted(model, TEXTS)


def test_everything_moves(model):
    model.to("meta")
    places = {name: one.device.type for name, one in [*model.named_parameters(), *model.named_buffers()]}
    assert set(places.values()) == {"meta"}
    assert "graph.edge_index" in places


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_everything_takes_a_dtype(model, dtype):
    expected = model(TEXTS)
    model.to(getattr(torch, dtype))
    assert {str(one.dtype) for one in model.parameters()} == {f"torch.{dtype}"}
    assert model.graph.edge_index.dtype == torch.long
    tolerance = 0.05 if dtype == "bfloat16" else 1e-5
    for name, scores in model(TEXTS).items():
        torch.testing.assert_close(scores.float(), expected[name], rtol=0, atol=tolerance)
    assert predicted(model, TEXTS)


def test_an_encoder_may_have_a_dtype_of_its_own(model):
    expected = model(TEXTS)["diagnosis_logits"]
    model.encoder.to(torch.float64)
    torch.testing.assert_close(model(TEXTS)["diagnosis_logits"], expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_answer_alike_and_share_nothing(model, copied):
    model.trained_on = phaita.TrainingRecord("nothing, in a test", {"top-1": 0.5})
    other = copied(model)
    assert predicted(other, TEXTS) == predicted(model, TEXTS)
    assert other.trained_on == model.trained_on
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert predicted(other, TEXTS) != predicted(model, TEXTS)


def test_a_deleted_model_leaves_nothing_behind():
    model = discriminator()
    predicted(model, TEXTS)
    model(TEXTS)["diagnosis_logits"].sum().backward()
    watched = [weakref.ref(one) for one in (model, *model.modules(), *model.parameters(), *model.buffers())]
    del model
    gc.collect()
    assert not [one for one in watched if one() is not None]


def descend(model, texts, labels):
    """One step by hand: torch.optim would take seconds to import."""
    model.zero_grad()
    torch.nn.functional.cross_entropy(model(texts)["diagnosis_logits"], labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:  # the other head's have none
                parameter -= 0.1 * parameter.grad


def test_it_learns():
    """A few steps on a few texts: each is told from the others, by a network whose dropout is on."""
    model = discriminator(dropout=0.1).train()
    texts = ["wheezing and chest tightness", "coughing up blood", "fever and shaking chills"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(40):
            descend(model, texts, torch.tensor([0, 5, 1]))
    answers = predicted(model, [*texts, "shaking chills and a fever"], top_k=1)
    assert [records[0].code for records in answers] == ["J45.9", "J81.0", "J18.9", "J18.9"]
    assert all(records[0].probability > 0.6 and not records[0].abstained for records in answers[:3])


WRONG = [
    ("max_length", 0),
    ("batch_size", 0),
    ("graph_layers", 0),
    ("graph_heads", 3),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("interval", 1.5),
    ("abstain_below", -1.0),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_config_that_makes_no_sense_names_the_field(field, value):
    with pytest.raises(ValueError, match=field):
        phaita.DiscriminatorConfig(**{field: value})


def test_the_packages_configuration_is_taken_over():
    sizes: dict[str, Any] = {"max_length": 99, "dropout": 0.3, "gnn_hidden": 24, "gnn_heads": 3}
    model = ModelConfig(deberta_model="org/name", mc_dropout=False, **sizes)
    assert phaita.DiscriminatorConfig.of(Config(model=model)) == phaita.DiscriminatorConfig(
        encoder="org/name", max_length=99, dropout=0.3, node_size=24, graph_heads=3, mc_dropout=False
    )


@pytest.mark.cuda
def test_a_cuda_device_gives_the_same_answers(model):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    expected = predicted(model, TEXTS)
    model.to("cuda")
    assert {one.device.type for one in [*model.parameters(), *model.buffers()]} == {"cuda"}
    for here, there in zip(expected, predicted(model, TEXTS), strict=True):
        assert_alike(here, there, tolerance=1e-4)
    torch.nn.functional.cross_entropy(model(TEXTS)["diagnosis_logits"], torch.arange(5, device="cuda")).backward()
