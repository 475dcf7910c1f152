from __future__ import annotations

import math
from collections import Counter
from importlib import import_module
from typing import Any

import pytest

from phaita.models._seeds import item_seeds
from phaita.models.presentation import PatientPresentation
from tests.unit import language

pytestmark = pytest.mark.torch

WHEEZING = PatientPresentation("J45.9", ("wheezing", "cough"), "adult", "mild")
COLD = PatientPresentation("J06.9", ("rhinorrhea", "sneezing", "sore_throat", "headache"))
BABY = PatientPresentation("J21.9", ("poor_feeding",), "child", "severe")
PEOPLE = [WHEEZING, COLD, BABY]


@pytest.fixture(scope="module")
def generator() -> Any:
    return import_module("phaita.models.generator")


@pytest.fixture(scope="module")
def sampling() -> Any:
    return import_module("phaita.models._sampling")


@pytest.fixture
def says(torch, generator):
    """A generator whose model says one text, token by token, and then its end or anything; each token occurs once."""

    def made(text: str, *, ends: bool = True, chat: str | None = language.CHAT, **config: Any) -> Any:
        words = language.tokenizer([text, "[INST]", "Patient:"], chat_template=chat)
        table = torch.full((len(words), len(words)), -30.0)
        last = words("Patient:" if chat is None else "[/INST]").input_ids[-1]
        for token in [*words(text).input_ids, *([words.eos_token_id] if ends else [])]:
            table[last, token] = 30.0
            last = token
        return generator.ComplaintGenerator(language.chain(table), words, generator.ComplaintConfig(**config))

    return made


@pytest.fixture(scope="module")
def gpt2(generator):
    """A generator around a GPT-2 that was drawn at random, which babbles and never ends by itself."""
    words = language.tokenizer([f"word{number} of. many" for number in range(40)], chat_template=language.CHAT)
    config = generator.ComplaintConfig(max_new_tokens=12, stop=())
    return generator.ComplaintGenerator(language.gpt2(len(words)), words, config)


def test_the_complaint_comes_without_the_prompt(says):
    assert says("I can't breathe. It hurts!").generate_complaint(WHEEZING) == "I can't breathe. It hurts!"


def test_a_model_without_a_chat_template_is_asked_to_go_on(says):
    assert says("I can't breathe.", chat=None).generate_complaint(WHEEZING) == "I can't breathe."


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_certain_model_says_the_same_to_all(says, temperature):
    assert says("It hurts!", temperature=temperature).generate_complaints(PEOPLE) == ["It hurts!"] * 3


def test_a_complaint_ends_at_the_end_of_its_line(says):
    made = says(" My chest hurts.\nNurse: since when?", ends=False, max_new_tokens=12)
    assert made.generate_complaint(COLD) == "My chest hurts."


def test_white_space_before_the_first_word_ends_nothing(torch, sampling):
    said = ["\n My chest hurts.", "My chest\n hurts.!", "Patient:\n My chest", ": Patient:\n chest"]
    words = language.tokenizer(said)
    rows = [torch.tensor([[0, *words(one).input_ids]]) for one in said]
    assert [sampling.StopMarks(words, ["\n"], 1)(row, None).tolist() for row in rows] == [
        [False],
        [True],
        [False],
        [True],
    ]


def test_a_row_that_has_ended_is_not_written_on_while_others_speak(generator):
    words = language.tokenizer(["a b c d . [INST]", "poor feeding"], chat_template=language.CHAT)
    config = generator.ComplaintConfig(max_new_tokens=40)
    made = generator.ComplaintGenerator(language.gpt2(len(words)), words, config)
    together = made.generate_complaints(PEOPLE * 4, seed=3)
    assert len({len(one) for one in together}) > 3
    for at, complaint in enumerate(together):
        assert made.generate_complaints((PEOPLE * 4)[: at + 1], seed=3)[at] == complaint


def test_it_stops_calling_the_model_where_the_complaint_ends(says):
    made, calls = says("It hurts.\n", ends=False, max_new_tokens=100), []
    made.model.register_forward_hook(lambda *_: calls.append(1))
    made.generate_complaint(COLD)
    assert len(calls) == 4


def test_a_complaint_that_ran_out_of_tokens_is_cut_to_whole_sentences(says):
    assert says("It hurts! And I can't", ends=False, max_new_tokens=6).generate_complaint(COLD) == "It hurts!"
    assert says("It hurts! And I can't").generate_complaint(COLD) == "It hurts! And I can't"
    assert says("It really hurts", ends=False, max_new_tokens=2).generate_complaint(COLD) == "It really"


def test_a_model_does_not_begin_with_its_end(torch, generator):
    words = language.tokenizer(["a", "[INST]"], chat_template=language.CHAT)
    table = torch.full((len(words), len(words)), -30.0)
    table[:, words.eos_token_id] = 30.0
    table[:, words("a").input_ids[0]] = 10.0
    assert generator.ComplaintGenerator(language.chain(table), words).generate_complaint(COLD) == "a"


@pytest.mark.parametrize(
    ("said", "ended", "complaint"),
    [
        ('  "I can\'t breathe."', True, "I can't breathe."),
        ("\u201cIt hurts.\u201d", True, "It hurts."),
        ('Patient: "It hurts."\n\nNurse: where?', False, "It hurts."),
        ("complaint: It hurts.", True, "It hurts."),
        ("\nPatient:\nIt hurts.\n", False, "It hurts."),
        ("My patient: him.", True, "My patient: him."),
        ("It hurts. [INST] more", False, "It hurts."),
        ("It hurts. And", False, "It hurts."),
        ("It hurts. And", True, "It hurts. And"),
        ("It hurts", False, "It hurts"),
        ('They call it "asthma"', True, 'They call it "asthma"'),
        (" \n ", False, ""),
        ("", True, ""),
    ],
)
def test_what_a_model_says_is_tidied(sampling, said, ended, complaint):
    assert sampling.clean_complaint(said, ("\n", "[INST]"), ended) == complaint


def test_a_prompt_names_symptoms_and_not_the_condition(says):
    prompt = says("a").prompt(BABY)
    assert "poor feeding" in prompt
    assert "child" in prompt
    assert "severe" in prompt
    assert "bronchiolitis" not in prompt
    assert "child" not in says("a").prompt(COLD)


def test_the_same_seed_writes_the_same(gpt2):
    first = gpt2.generate_complaints(PEOPLE, seed=1)
    assert first == gpt2.generate_complaints(PEOPLE, seed=1)
    assert first != gpt2.generate_complaints(PEOPLE, seed=2)
    assert len(set(gpt2.generate_complaints([COLD] * 5, seed=1))) == 5
    assert gpt2.generate_complaint(WHEEZING, seed=1) == first[0]


def test_without_a_seed_each_call_writes_anew(gpt2):
    assert gpt2.generate_complaints(PEOPLE) != gpt2.generate_complaints(PEOPLE)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_complaint_does_not_depend_on_its_batch(generator, gpt2, temperature):
    """Padding, neighbours and the order of batches make no difference; the place in the list makes the seed."""
    config = generator.ComplaintConfig(max_new_tokens=12, stop=(), temperature=temperature)
    together = generator.ComplaintGenerator(gpt2.model, gpt2.tokenizer, config)
    apart = generator.ComplaintGenerator(
        gpt2.model, gpt2.tokenizer, generator.ComplaintConfig(12, temperature, stop=(), batch_tokens=1)
    )
    expected = together.generate_complaints(PEOPLE, seed=4)
    assert expected == apart.generate_complaints(PEOPLE, seed=4)
    assert expected[:2] == together.generate_complaints([*PEOPLE[:2], COLD, COLD], seed=4)[:2]


def test_batches_are_of_like_length(generator, gpt2):
    shapes = []
    made = generator.ComplaintGenerator(
        gpt2.model, gpt2.tokenizer, generator.ComplaintConfig(max_new_tokens=1, batch_tokens=400)
    )
    hook = gpt2.model.register_forward_pre_hook(
        lambda _, __, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    made.generate_complaints([WHEEZING, COLD] * 3)
    hook.remove()
    lengths = [len(gpt2._prompt_ids(one)) for one in (COLD, WHEEZING)]
    assert [longest for _, longest in shapes] == sorted((longest for _, longest in shapes), reverse=True)
    assert {shapes[0][1], shapes[-1][1]} == set(lengths)
    assert sum(rows for rows, _ in shapes) == 6
    assert all(rows * (longest + 1) <= 400 for rows, longest in shapes)


def test_the_global_random_numbers_stay_as_they_were(torch, gpt2):
    before = torch.random.get_rng_state()
    gpt2.generate_complaints(PEOPLE)
    gpt2.generate_complaints(PEOPLE, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_dropout_is_off_while_it_writes_and_on_again_after(gpt2):
    gpt2.train()
    gpt2.model.transformer.h[0].eval()
    try:
        modes = [module.training for module in gpt2.modules()]
        written = gpt2.generate_complaints(PEOPLE, seed=1)
        assert modes == [module.training for module in gpt2.modules()]
        assert written == gpt2.generate_complaints(PEOPLE, seed=1)
    finally:
        gpt2.eval()
    assert written == gpt2.generate_complaints(PEOPLE, seed=1)


def test_tokens_come_as_often_as_their_probability_says(torch, generator):
    """A chi-square test over 4,000 complaints of one token, whose model has four words of known odds."""
    words = language.tokenizer(["w x y z", "[INST]"], chat_template=language.CHAT)
    shares = {"w": 0.5, "x": 0.3, "y": 0.15, "z": 0.05}
    ids = {word: words.convert_tokens_to_ids(word if word == "w" else f" {word}") for word in shares}
    table = torch.full((len(words), len(words)), -math.inf)
    for word, share in shares.items():
        table[:, ids[word]] = math.log(share)
    config = generator.ComplaintConfig(max_new_tokens=1, temperature=1.0, top_p=1.0, batch_tokens=1 << 20)
    made = generator.ComplaintGenerator(language.chain(table), words, config)
    many = 4000
    counted = Counter(made.generate_complaints([BABY] * many, seed=7))
    assert set(counted) == set(shares)
    chi2 = sum((counted[word] - many * share) ** 2 / (many * share) for word, share in shares.items())
    assert chi2 < 16.3  # 3 degrees of freedom: one seed in a thousand would be above


def test_the_nucleus_leaves_out_the_unlikely(torch, generator):
    words = language.tokenizer(["w x y z", "[INST]"], chat_template=language.CHAT)
    table = torch.full((len(words), len(words)), -math.inf)
    table[:, words("w x y z").input_ids] = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    config = generator.ComplaintConfig(max_new_tokens=1, temperature=1.0, top_p=0.75, batch_tokens=1 << 20)
    made = generator.ComplaintGenerator(language.chain(table), words, config)
    assert set(made.generate_complaints([BABY] * 300, seed=7)) == {"w", "x"}


def test_seeds_are_by_place():
    assert item_seeds(5, 3) == item_seeds(5, 9)[:3]
    assert len(set(item_seeds(5, 1000)) | set(item_seeds(6, 1000))) == 2000
    assert all(0 <= one < 1 << 63 for one in item_seeds(5, 1000))
    assert item_seeds(None, 2) != item_seeds(None, 2)


def log_probability(torch, made, presentation, complaint):
    """Token by token, with a forward for each."""
    ids = made._prompt_ids(presentation)
    total = 0.0
    for token in [*made.tokenizer(complaint).input_ids, made.tokenizer.eos_token_id]:
        logits = made.model(input_ids=torch.tensor([ids])).logits[0, -1]
        total += float(torch.log_softmax(logits, -1)[token])
        ids.append(token)
    return total


def test_forward_tells_the_log_probability_of_each_complaint(torch, gpt2):
    gpt2.eval()
    texts = ["word1 of many", "word3", "word7 word8. of. many word9"]
    with torch.no_grad():
        told = gpt2(PEOPLE, texts)
        expected = [log_probability(torch, gpt2, one, text) for one, text in zip(PEOPLE, texts, strict=True)]
    torch.testing.assert_close(told, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_parameter(gpt2):
    gpt2.zero_grad()
    gpt2(PEOPLE, ["word1", "word2 of", "word3"]).sum().backward()
    assert [name for name, one in gpt2.named_parameters() if one.grad is None] == []
    gpt2.zero_grad()


def test_a_presentation_needs_a_complaint(gpt2):
    with pytest.raises(ValueError, match="shorter"):
        gpt2(PEOPLE, ["word1"])


def test_what_is_said_of_a_state_dict(torch, generator, gpt2):
    other = generator.ComplaintGenerator(language.gpt2(len(gpt2.tokenizer), seed=1), gpt2.tokenizer, gpt2.config)
    assert other.generate_complaints(PEOPLE, seed=1) != gpt2.generate_complaints(PEOPLE, seed=1)
    other.load_state_dict(gpt2.state_dict())
    assert other.generate_complaints(PEOPLE, seed=1) == gpt2.generate_complaints(PEOPLE, seed=1)


def test_no_presentation_is_no_complaint(gpt2):
    assert gpt2.generate_complaints([]) == []


def test_more_tokens_than_positions(generator, gpt2):
    made = generator.ComplaintGenerator(gpt2.model, gpt2.tokenizer, generator.ComplaintConfig(max_new_tokens=500))
    with pytest.raises(ValueError, match="positions for 512"):
        made.generate_complaint(COLD)


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"batch_tokens": 0}, {"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_a_configuration_that_makes_no_sense(generator, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        generator.ComplaintConfig(**wrong)


def test_batches_cover_every_row_once():
    batches = import_module("phaita.models._inference").batches
    lengths = [3, 50, 1, 0, 20, 20, 7]
    found = list(batches(lengths, 41))
    assert found == [[1], [4, 5], [6, 0, 2, 3]]
    assert list(batches([], 41)) == []
