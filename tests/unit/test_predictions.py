"""The discriminator's answers, their certainty, and when it abstains."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.encoders import COUGH, TEXTS, WHEEZE, assert_alike, discriminator, predicted, tokenizer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
phaita = import_module("phaita.models.discriminator")


@pytest.fixture
def model():
    return discriminator()


@pytest.fixture(scope="module")
def shared():
    """For whom makes many calls and changes nothing."""
    return discriminator()


@pytest.mark.parametrize(("name", "value"), [("top_k", 0), ("top_k", 11), ("num_mc_samples", 0)])
def test_numbers_that_make_no_sense_are_refused(model, name, value):
    with pytest.raises(ValueError, match="top_k must be 1 to 10 and num_mc_samples 1 or more"):
        predicted(model, TEXTS, **{name: value})


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


def test_the_config_says_whether_to_sample_unless_the_call_does():
    model = discriminator(dropout=0.5, mc_dropout=False)
    alone = predicted(model, [WHEEZE])
    assert alone == predicted(model, [WHEEZE], use_mc_dropout=False)
    assert all(record.interval == (record.probability, record.probability) for record in alone[0])
    sampled = predicted(model, [WHEEZE], use_mc_dropout=True)
    assert all(record.interval[0] < record.interval[1] for record in sampled[0])
    model.config = dataclasses.replace(model.config, mc_dropout=True)
    assert predicted(model, [WHEEZE]) == sampled


def test_samples_are_what_dropout_gives_in_training():
    """Many samples have the mean and the percentiles of many forwards with dropout on in the fusion alone."""
    model = discriminator(dropout=0.5)
    model.fusion.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        forwards = torch.cat([model([WHEEZE] * 400)["diagnosis_logits"].softmax(-1) for _ in range(4)])
    model.eval()
    (records,) = predicted(model, [WHEEZE], num_mc_samples=2000)
    means, (low, high) = forwards.mean(0), forwards.quantile(torch.tensor([0.05, 0.95]), dim=0)
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


def test_the_tokenizer_of_these_tests_frames_a_text():
    assert tokenizer()(["dry cough"])["input_ids"][0][0] == 2
    assert tokenizer(specials=False)([""])["input_ids"] == [[]]
