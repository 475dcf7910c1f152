from __future__ import annotations

import itertools
import math
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import language

pytestmark = pytest.mark.torch

TEXTS = [
    "I'm here with a fever. There's also a dry cough. It hurts!",
    "I have wheezing",
    "",
    "The stock market fell today. My chest hurts and I can't breathe. Is it bad?",
    "Fever.",
    " \n... !",
    "chills " * 40,
]
PARTS = ("fluency", "coherence", "medical_relevance")


@pytest.fixture(scope="module")
def realism() -> Any:
    return import_module("phaita.models.realism")


@pytest.fixture(scope="module")
def scorer(realism):
    """Around models that were drawn at random: they know nothing, and compute as others do."""
    return made(realism)


def made(realism, **config):
    words = language.tokenizer(TEXTS)
    models = language.bert(len(words)), words, language.gpt2(len(words)), words
    return realism.RealismScorer(*models, realism.RealismConfig(**config))


def close(torch, one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_there_is_a_score_for_each_text(torch, scorer):
    scores = scorer.get_detailed_scores(TEXTS)
    assert list(scores) == [*PARTS, "overall"]
    for score in scores.values():
        assert score.shape == (len(TEXTS),)
        assert ((score >= 0) & (score <= 1)).all()
    assert torch.equal(scorer.compute_realism_score(TEXTS), scores["overall"])


def test_a_single_text_has_numbers(torch, scorer):
    for text in TEXTS:
        alone = scorer.get_detailed_scores(text)
        assert alone == {name: float(score) for name, score in scorer.get_detailed_scores([text]).items()}
        assert {type(score) for score in alone.values()} == {float}


def test_a_text_where_a_list_is_meant(scorer):
    with pytest.raises(TypeError, match="list of texts"):
        scorer.compute_realism_score("I have a fever.")


def test_no_text_has_no_score(scorer):
    assert scorer.compute_realism_score([]).shape == (0,)


def test_nothing_said_scores_nothing(scorer):
    for text in ("", " \n... !", "\u2026", "_"):
        assert scorer.get_detailed_scores(text) == dict.fromkeys([*PARTS, "overall"], 0.0)


def test_the_overall_score_is_the_weighted_mean(scorer):
    scores = scorer.get_detailed_scores(TEXTS[0])
    mean = 0.4 * scores["fluency"] + 0.3 * scores["coherence"] + 0.3 * scores["medical_relevance"]
    assert scores["overall"] == pytest.approx(mean)


def test_a_single_sentence_is_not_judged_by_its_coherence(scorer):
    scores = scorer.get_detailed_scores("I have wheezing")
    assert scores["coherence"] == 1
    mean = (0.4 * scores["fluency"] + 0.3 * scores["medical_relevance"]) / 0.7
    assert scores["overall"] == pytest.approx(mean)


def test_fluency_is_that_of_the_perplexity_token_by_token(torch, scorer):
    """One forward a token, no padding, no batch."""
    words, model = scorer.lm_tokenizer, scorer.lm.eval()
    for text in TEXTS[:2]:
        ids = [words.bos_token_id, *words(text).input_ids]
        with torch.no_grad():
            rows = [model(input_ids=torch.tensor([ids[:at]])).logits[0, -1] for at in range(1, len(ids))]
        losses = [-float(torch.log_softmax(row, -1)[token]) for row, token in zip(rows, ids[1:], strict=True)]
        perplexity = math.exp(sum(losses) / len(losses))
        assert scorer.get_detailed_scores(text)["fluency"] == pytest.approx(1 / (1 + perplexity / 50), rel=1e-4)


def test_fluency_is_half_at_the_perplexity_that_says_so(torch, realism):
    """A model of equal odds has as many tokens as perplexity."""
    words = language.tokenizer(["a fever"])
    even = language.chain(torch.zeros(len(words), len(words)))
    scores = realism.RealismScorer(
        language.bert(len(words)), words, even, words, realism.RealismConfig(half_perplexity=float(len(words)))
    )
    assert scores.get_detailed_scores("a fever")["fluency"] == pytest.approx(0.5)


def test_coherence_is_the_mean_cosine_of_neighbouring_sentences(torch, scorer):
    encoder, words = scorer.encoder.eval(), scorer.encoder_tokenizer
    sentences = ["I'm here with a fever.", "There's also a dry cough.", "It hurts!"]
    with torch.no_grad():
        hidden = [encoder(**words(one, return_tensors="pt")).last_hidden_state[0].mean(0) for one in sentences]
    cosines = [torch.cosine_similarity(one, other, dim=0) for one, other in itertools.pairwise(hidden)]
    expected = max(0.0, float(sum(cosines) / 2))
    assert scorer.get_detailed_scores(" ".join(sentences))["coherence"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "relevance"),
    [
        ("The stock market fell today.", 0.0),
        ("I have a fever.", 0.5),
        ("A fever, a fever and once more a fever.", 0.5),
        ("I have a fever and a runny nose.", 0.75),
        ("I have a fever, but no runny nose.", 0.75),
        ("A fever, wheezing and a runny nose.", 0.875),
    ],
)
def test_each_further_symptom_halves_what_lacks_in_relevance(scorer, text, relevance):
    assert scorer.get_detailed_scores(text)["medical_relevance"] == relevance


@pytest.mark.parametrize("room", [1, 60, 100_000])
def test_a_score_does_not_depend_on_its_batch(torch, realism, scorer, room):
    together = made(realism, batch_tokens=room).get_detailed_scores(TEXTS)
    for at, text in enumerate(TEXTS):
        for name, score in scorer.get_detailed_scores([text]).items():
            close(torch, score[0], together[name][at])
    backwards = scorer.get_detailed_scores(TEXTS[::-1])
    for name, score in together.items():
        close(torch, score.flip(0), backwards[name])


def test_a_batch_is_one_forward(realism):
    scorer, calls = made(realism, batch_tokens=100_000), []
    for model in (scorer.lm, scorer.encoder):
        model.register_forward_hook(lambda model, *_: calls.append(type(model).__name__))
    scorer.compute_realism_score(TEXTS * 9)
    assert sorted(calls) == ["BertModel", "GPT2LMHeadModel"]


def test_what_is_too_long_is_cut(realism, scorer):
    short = made(realism, max_tokens=8)
    long_text = "I have a fever. " + "My chest hurts and " * 500
    assert 0 < short.get_detailed_scores(long_text)["overall"] < 1
    assert short.get_detailed_scores(long_text)["fluency"] == pytest.approx(
        short.get_detailed_scores("I have a fever. My chest hurts and I can't breathe")["fluency"]
    )
    assert 0 < scorer.get_detailed_scores(long_text)["overall"] < 1  # at the positions that the models have


def test_no_score_is_random(torch, realism, scorer):
    """Not even while the models train: their dropout is off for the scores, and on again after."""
    scorer.lm.train()
    scorer.encoder.train()
    first = scorer.get_detailed_scores(TEXTS)
    assert scorer.lm.training
    assert scorer.encoder.training
    for name, score in made(realism).get_detailed_scores(TEXTS).items():
        assert torch.equal(score, first[name]), name


def test_scores_leave_torch_as_it_was(torch, scorer):
    before = torch.random.get_rng_state()
    scores = scorer.compute_realism_score(TEXTS)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not scores.requires_grad
    assert torch.is_grad_enabled()


def test_a_start_token_is_needed(realism):
    words = language.tokenizer(TEXTS)
    lost = language.tokenizer(TEXTS, bos_token=None, eos_token=None)
    with pytest.raises(ValueError, match="bos_token"):
        realism.RealismScorer(language.bert(len(words)), words, language.gpt2(len(words)), lost)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fluency": -0.1},
        {"fluency": 0.0, "medical_relevance": 0.0},
        {"half_perplexity": 0.0},
        {"max_tokens": 3},
        {"batch_tokens": 0},
    ],
)
def test_a_configuration_that_makes_no_sense(realism, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        realism.RealismConfig(**wrong)


@given(texts=st.lists(st.text(max_size=60) | st.sampled_from(TEXTS), max_size=4))
def test_any_text_has_a_score(scorer, texts):
    scores = scorer.get_detailed_scores(texts)
    for name, score in scores.items():
        assert score.shape == (len(texts),), name
        assert ((score >= 0) & (score <= 1)).all(), name


TOLD = {"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.0}


class Told:
    """A scorer with an opinion on four texts."""

    def compute_realism_score(self, complaints):
        return import_module("torch").tensor([TOLD[text] for text in complaints])


@pytest.fixture
def loss(realism):
    return realism.RealismLoss(Told())


@pytest.fixture
def policy(torch):
    """The logits of a generator that draws one of the four texts."""
    return torch.tensor([0.3, -0.2, 1.0, 0.1], requires_grad=True)


def test_the_loss_is_what_lacks_in_realism(torch, realism, loss):
    close(torch, loss(["a", "b"]), torch.tensor(0.45))
    close(torch, realism.RealismLoss(Told(), weight=2.0)(["a", "b"]), torch.tensor(0.9))
    assert not loss(["a", "b"]).requires_grad


def test_log_probabilities_give_a_gradient_and_change_no_value(torch, loss, policy):
    chances = policy.log_softmax(0)
    value = loss(["a", "b", "b"], chances[[0, 1, 1]])
    close(torch, value.detach(), loss(["a", "b", "b"]))
    value.backward()
    assert policy.grad is not None
    assert policy.grad[0] < 0 < policy.grad[1]  # a descent makes the realistic text likelier


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_the_gradient_is_right_on_average(torch, realism, policy, batch, weight):
    """Over every batch that can be drawn, weighted by its probability, it is that of the expected loss."""
    texts = sorted(TOLD)
    loss = realism.RealismLoss(Told(), weight)
    expected = weight * (policy.softmax(0) * (1 - Told().compute_realism_score(texts))).sum()
    (exact,) = torch.autograd.grad(expected, policy)
    average = torch.zeros(4)
    for drawn in itertools.product(range(4), repeat=batch):
        chances = policy.log_softmax(0)[list(drawn)]
        (estimate,) = torch.autograd.grad(loss([texts[at] for at in drawn], chances), policy)
        average += chances.sum().exp().detach() * estimate
    close(torch, average, exact)


def test_texts_and_log_probabilities_pair_up(torch, loss):
    with pytest.raises(ValueError, match=r"2 texts.*\(3,\)"):
        loss(["a", "b"], torch.zeros(3))


def test_the_loss_trains_no_scorer(realism, scorer):
    loss = realism.RealismLoss(scorer)
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


def test_the_loss_trains_the_generator_that_drew_the_texts(torch, realism, scorer):
    generator = import_module("phaita.models.generator")
    words = language.tokenizer([*TEXTS, "[INST]"], chat_template=language.CHAT)
    drawing = generator.ComplaintGenerator(language.gpt2(len(words)), words)
    presentations = [generator.PatientPresentation("J45.9", ("wheezing",))] * 2
    texts = ["I have wheezing", "The stock market fell today."]
    before = drawing(presentations, texts).detach()
    descent = torch.optim.SGD(drawing.parameters(), lr=0.1)
    realism.RealismLoss(scorer)(texts, drawing(presentations, texts)).backward()
    descent.step()
    better, worse = drawing(presentations, texts).detach() - before
    assert better > worse
