"""The texts that the discriminator learns from, none of which is among those it is measured on."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phaita.data._words import normalized
from phaita.data.complaint_templates import sentence_templates
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import find_symptoms, finder, lexicon
from phaita.training.complaints import draw_complaints, garbled, listed_complaints, poorer_lexicons, writers
from phaita.utils.config import DataConfig

SEEDS = st.integers(0, 2**32)
CODES = list(RespiratoryConditions.get_all_conditions())
FEW = DataConfig(samples_per_condition=4)


def wordings(*engines):
    return {normalized(phrase) for engine in engines for said in engine.phrases.values() for phrase in said}


@given(SEEDS)
def test_the_three_writers_share_no_template_and_test_shares_no_phrase(seed):
    split = writers(seed)
    templates = [set(one.templates) for one in (split.train, split.validation, split.test)]
    assert sorted(one for part in templates for one in part) == sorted(sentence_templates().ids)
    assert not wordings(split.test) & wordings(split.train, split.validation)


@given(SEEDS)
def test_validation_has_phrases_of_its_own_where_there_are_enough(seed):
    split = writers(seed)
    for symptom, said in split.train.phrases.items():
        others = split.validation.phrases[symptom]
        known = set(said) | set(others)
        assert set(said) == set(others) if len(known) < 3 else not set(said) & set(others)


@settings(max_examples=15)
@given(SEEDS)
def test_no_wording_of_a_tested_text_was_learned(seed):
    """By what is in the texts themselves, whoever wrote them."""
    drawn = draw_complaints(FEW, seed)
    learned, tested = (
        {normalized(match.text) for one in part if one.fluent for match in find_symptoms(one.text)}
        for part in ((*drawn.train, *drawn.validation), drawn.test)
    )
    assert tested
    assert not learned & tested
    assert not {one.text for one in (*drawn.train, *drawn.validation)} & {one.text for one in drawn.test}


def test_the_learned_lexicon_knows_what_was_learned_and_nothing_else():
    split = writers(3)
    known = draw_complaints(FEW, 3).lexicon
    assert list(known) == list(lexicon())
    assert {normalized(phrase) for one in known.values() for phrase in one.phrases} == wordings(
        split.train, split.validation
    )
    assert not any(one.variants for one in known.values())
    find = finder(known)
    phrase = split.test.phrases["wheezing"][0]
    assert [match.symptom for match in find_symptoms(f"I have {phrase}")] == ["wheezing"]
    assert "wheezing" not in {match.symptom for match in find(f"I have {phrase}")}
    assert [match.symptom for match in find(f"I have {split.train.phrases['wheezing'][0]}")] == ["wheezing"]


def test_equal_arguments_give_equal_complaints():
    assert draw_complaints(FEW, 5) == draw_complaints(FEW, 5)
    assert {one.text for one in draw_complaints(FEW, 5).train} != {one.text for one in draw_complaints(FEW, 6).train}


def test_as_many_of_each_condition_as_asked_for():
    drawn = draw_complaints(DataConfig(samples_per_condition=8), 0)
    for part, each in ((drawn.train, 8), (drawn.validation, 2), (drawn.test, 4)):
        counts = Counter(one.code for one in part)
        assert counts == {None: round(10 * each / 4)} | dict.fromkeys(CODES, each)


def test_a_garbled_text_is_of_no_condition_and_no_complaint():
    drawn = draw_complaints(FEW, 0)
    fluent = {one.text for one in drawn.train if one.fluent}
    spoilt = [one for one in drawn.train if not one.fluent]
    assert spoilt
    assert all(one.code is None and one.text not in fluent for one in spoilt)


@given(st.text(st.sampled_from("ab ."), max_size=30), SEEDS)
def test_garbled_is_never_the_same_text(text, seed):
    assert garbled(text, random.Random(seed)).split() != text.split() or not text.split()


def test_garbled_adds_no_word_of_its_own():
    text = "I have had a bad cough since the weekend and it hurts"
    made = [garbled(text, random.Random(seed)) for seed in range(30)]
    assert all(set(one.split()) <= set(text.split()) for one in made)
    lengths = {len(one.split()) - len(text.split()) for one in made}
    assert len(lengths) == 3  # lost, kept and doubled words


def test_lay_terms_are_of_every_condition():
    listed = listed_complaints()
    assert {one.code for one in listed} == set(CODES)
    assert [one.text for one in listed if one.code == "J45.9"] == list(
        RespiratoryConditions.get_lay_terms_for_condition("J45.9")
    )


@pytest.mark.parametrize(("number", "known"), [(0, 1 / 2), (1, 1 / 2), (2, 1 / 4), (3, 1 / 4)])
def test_a_poorer_lexicon_knows_a_part_of_every_kind_of_wording(number, known):
    poorer = poorer_lexicons(0)[number]
    assert list(poorer) == list(lexicon())
    for kind in ("phrases", "variants"):
        there = sum(len(getattr(one, kind)) for one in lexicon().values())
        kept = sum(len(getattr(one, kind)) for one in poorer.values())
        assert kept == pytest.approx(known * there, rel=0.25)
    assert all(set(one.phrases) <= set(lexicon()[name].phrases) for name, one in poorer.items())


def test_poorer_lexicons_differ_from_each_other_and_follow_from_the_seed():
    assert len({str(one) for one in poorer_lexicons(1)}) == 4
    assert poorer_lexicons(1) == poorer_lexicons(1)
    assert poorer_lexicons(1) != poorer_lexicons(2)
