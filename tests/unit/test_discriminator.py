"""The discriminator around an encoder made in memory: what it answers, and that it is a module like any other."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phaita.utils.config import Config, ModelConfig
from tests.unit.encoders import discriminator, encoder, tokenizer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
phaita = import_module("phaita.models.discriminator")

WHEEZE = "I have wheezing and a tight chest but no fever"
COUGH = "a dry cough"
TEXTS = [WHEEZE, COUGH, "", "coughing up blood and chest pain since last night and shaking chills", "my cat is orange"]


@pytest.fixture
def model():
    return discriminator()


@pytest.fixture(scope="module")
def shared():
    """For whom makes many calls and changes nothing."""
    return discriminator()


def predicted(model, texts, **options):
    return model.predict_diagnosis(texts, allow_untrained=True, **{"top_k": 10, "seed": 1, **options})


def assert_alike(one, other, tolerance=1e-5):
    """The same records but for the last digits of their numbers."""
    assert [record.code for record in one] == [record.code for record in other]
    for left, right in zip(one, other, strict=True):
        numbers = [(record.probability, *record.interval, record.uncertainty) for record in (left, right)]
        assert numbers[0] == pytest.approx(numbers[1], abs=tolerance)
        assert (left.evidence, left.abstained, left.truncated) == (right.evidence, right.abstained, right.truncated)


def test_forward_gives_logits_and_scores(model):
    scores = model(TEXTS)
    assert set(scores) == {"diagnosis_logits", "discriminator_scores"}
    assert scores["diagnosis_logits"].shape == (5, 10)
    assert scores["discriminator_scores"].shape == (5, 1)
    assert ((scores["discriminator_scores"] > 0) & (scores["discriminator_scores"] < 1)).all()


def test_what_is_no_list_of_texts_is_refused(model):
    with pytest.raises(ValueError, match="one complaint or more"):
        model([])
    with pytest.raises(TypeError, match="not one text"):
        model(COUGH)
    with pytest.raises(TypeError, match=r"complaints\[1\] is of type float"):
        predicted(model, [COUGH, float("nan")])
    assert predicted(model, []) == []


@pytest.mark.parametrize(("name", "value"), [("top_k", 0), ("top_k", 11), ("num_mc_samples", 0)])
def test_numbers_that_make_no_sense_are_refused(model, name, value):
    with pytest.raises(ValueError, match="top_k is 1 to 10 and num_mc_samples 1 or more"):
        predicted(model, TEXTS, **{name: value})


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


@pytest.mark.parametrize("use_mc_dropout", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_prediction_does_not_depend_on_its_batch(batch_size, use_mc_dropout):
    model = discriminator(batch_size=batch_size)
    together = predicted(model, TEXTS, use_mc_dropout=use_mc_dropout)
    for text, records in zip(TEXTS, together, strict=True):
        assert_alike(predicted(model, [text], use_mc_dropout=use_mc_dropout)[0], records)


def test_records_are_ranked_and_whole(model):
    for text, records in zip(TEXTS, predicted(model, TEXTS), strict=True):
        assert len({record.code for record in records}) == 10
        probabilities = [record.probability for record in records]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-5)
        assert all(record.interval[0] <= record.probability <= record.interval[1] for record in records)
        assert all(0.0 <= record.uncertainty <= 1.0 for record in records)
        assert all(text[match.start : match.end] == match.text for match in records[0].evidence)
    assert [len(records) for records in predicted(model, TEXTS, top_k=3)] == [3] * 5
    assert len(model.predict_diagnosis([COUGH], allow_untrained=True)[0]) == 1


def test_evidence_marks_what_is_denied(model):
    record = predicted(model, [WHEEZE])[0][0]
    assert [(match.symptom, match.negated) for match in record.evidence] == [
        ("wheezing", False),
        ("chest_tightness", False),
        ("fever", True),
    ]


def test_a_random_diagnosis_is_never_handed_out(model):
    with pytest.raises(phaita.Untrained, match="allow_untrained=True") as refused:
        model.predict_diagnosis([COUGH])
    assert "train" in str(refused.value)
    assert not model.trained
    model.trained_on = phaita.TrainingRecord("nothing, in a test")
    assert model.trained
    assert model.predict_diagnosis([COUGH])


def test_without_samples_the_probability_is_the_one_of_forward(model):
    expected = model(TEXTS)["diagnosis_logits"].softmax(-1)
    for row, records in enumerate(predicted(model, TEXTS, use_mc_dropout=False)):
        for record in records:
            column = list(model.symptom_graph.labels).index(record.code)
            assert record.probability == pytest.approx(expected[row, column].item(), abs=1e-6)
            assert record.interval == (record.probability, record.probability)


def test_samples_differ_as_far_as_dropout_lets_them():
    (wide,) = predicted(discriminator(dropout=0.5), [WHEEZE])
    assert all(record.interval[0] < record.probability < record.interval[1] for record in wide)
    (none,) = predicted(discriminator(dropout=0.0), [WHEEZE])
    assert_alike(none, predicted(discriminator(dropout=0.0), [WHEEZE], use_mc_dropout=False)[0])


def test_samples_are_what_dropout_gives_in_training():
    """Many samples have the mean and the percentiles of many forwards with dropout on in the fusion alone."""
    model = discriminator(dropout=0.5)
    model.fusion.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        forwards = torch.cat([model([WHEEZE] * 400)["diagnosis_logits"].softmax(-1) for _ in range(4)])
    model.eval()
    (records,) = predicted(model, [WHEEZE], num_mc_samples=2000)
    means, low, high = forwards.mean(0), *forwards.quantile(torch.tensor([0.05, 0.95]), dim=0)
    for record in records:
        column = list(model.symptom_graph.labels).index(record.code)
        expected = [numbers[column].item() for numbers in (means, low, high)]
        assert [record.probability, *record.interval] == pytest.approx(expected, abs=0.012)


def test_a_seed_decides_and_leaves_torchs_own_generator_alone(model):
    before = torch.random.get_rng_state()
    assert predicted(model, TEXTS, seed=5) == predicted(model, TEXTS, seed=5)
    assert predicted(model, TEXTS, seed=5) != predicted(model, TEXTS, seed=6)
    assert torch.equal(before, torch.random.get_rng_state())


def test_without_a_seed_torchs_generator_decides(model):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = predicted(model, TEXTS, seed=None)
        assert predicted(model, TEXTS, seed=None) != first
        torch.manual_seed(3)
        assert predicted(model, TEXTS, seed=None) == first


def test_every_text_is_encoded_once():
    model = discriminator(batch_size=4)
    sizes = []
    model.encoder.register_forward_hook(lambda *call: sizes.append(len(call[-1].last_hidden_state)))
    predicted(model, TEXTS * 2, num_mc_samples=50)
    assert sizes == [4, 4, 2]


def test_texts_of_about_one_length_are_encoded_together():
    model = discriminator(batch_size=2)
    widths = []
    model.encoder.register_forward_hook(lambda *call: widths.append(call[-1].last_hidden_state.shape[1]))
    records = predicted(model, ["wheezing " * 20, "fever", "wheezing " * 19, "cough"], top_k=1)
    assert widths == [3, 22]
    assert [record[0].evidence[0].symptom for record in records] == ["wheezing", "fever", "wheezing", "cough"]


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


@pytest.mark.parametrize(("words", "truncated"), [(29, False), (30, False), (31, True), (500, True)])
def test_a_text_that_is_too_long_is_cut_and_says_so(model, words, truncated):
    """32 tokens are read, two of which are not the text's own."""
    text = " ".join(["wheezing"] * (words - 1) + ["fever"])
    short, long = predicted(model, [COUGH, text])
    assert not short[0].truncated
    assert {record.truncated for record in long} == {truncated}
    assert long[0].evidence[-1].symptom == "fever"


def test_what_is_cut_off_is_not_read_by_the_encoder():
    model = discriminator(use_graph=False)
    start = " ".join(["wheezing"] * 30)
    one, other = model([f"{start} fever", f"{start} cough"])["diagnosis_logits"]
    torch.testing.assert_close(one, other)


def test_the_tokenizers_own_limit_holds(model):
    model.tokenizer.model_max_length = 4
    assert [records[0].truncated for records in predicted(model, ["dry cough", "a dry cough"])] == [False, True]


@pytest.mark.parametrize("text", ["", "  \n\t", "my cat is orange", "no fever, and I deny any cough"])
def test_a_text_without_a_symptom_that_is_present_is_abstained_from(text):
    model = discriminator(abstain_below=0.0)
    (records,) = predicted(model, [text])
    assert len(records) == 10
    assert all(record.abstained for record in records)
    assert all(match.negated for match in records[0].evidence)
    assert not predicted(model, [WHEEZE])[0][0].abstained


def test_a_text_without_a_token_is_one_without_a_symptom():
    model = discriminator(specials=False)
    (records,) = predicted(model, [""])
    assert sum(record.probability for record in records) == pytest.approx(1.0, abs=1e-5)
    assert records[0].abstained


def test_below_the_threshold_a_record_is_abstained_from(model):
    first, second = predicted(model, [WHEEZE])[0][:2]
    between = (first.probability + second.probability) / 2
    model.config = dataclasses.replace(model.config, abstain_below=between)
    assert [record.abstained for record in predicted(model, [WHEEZE])[0][:3]] == [False, True, True]


def test_what_is_no_number_is_abstained_from(model):
    torch.nn.init.constant_(model.fusion.diagnosis.bias, float("nan"))
    assert all(record.abstained for record in predicted(model, [WHEEZE])[0])


@settings(max_examples=25)
@given(st.text())
def test_any_text_has_an_answer(shared, text):
    for record in predicted(shared, [text], num_mc_samples=2)[0]:
        assert record.interval[0] <= record.probability <= record.interval[1]
        assert record.abstained or any(not match.negated for match in record.evidence)


def test_threads_may_share_a_model(model):
    texts = [*TEXTS, "wheezing " * 100]  # a text that is cut makes the tokenizer change its state
    expected = predicted(model, texts)
    with ThreadPoolExecutor(4) as pool:
        for records in pool.map(lambda _: predicted(model, texts), range(20)):
            assert records == expected


def test_hooks_of_every_module_run(model):
    calls = Counter()
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
    model = ModelConfig(deberta_model="org/name", max_length=99, dropout=0.4, gnn_hidden=24, gnn_heads=3)
    config = phaita.DiscriminatorConfig.of(Config(model=model))
    told = (config.encoder, config.max_length, config.dropout, config.node_size, config.graph_heads)
    assert told == ("org/name", 99, 0.4, 24, 3)


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


def test_the_tokenizer_of_these_tests_frames_a_text():
    assert tokenizer()(["dry cough"])["input_ids"][0][0] == 2
    assert tokenizer(specials=False)([""])["input_ids"] == [[]]
