from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita.data._negation import negation_terms
from phaita.data._words import normalized
from phaita.data.symptoms import FILE, Match, find_symptoms, lexicon, read_lexicon
from phaita.errors import InvalidFile

RIGHT = FILE.read_text(encoding="utf-8")
WORDINGS = [(one.id, wording) for one in lexicon().values() for wording in one.phrases + one.variants]


def named(text: str) -> list[str]:
    """The symptoms of a text in order; a minus stands before those that it denies."""
    return [f"-{match.symptom}" if match.negated else match.symptom for match in find_symptoms(text)]


def test_the_lexicon_is_in_the_files_order_and_read_only() -> None:
    assert list(lexicon()) == re.findall(r"^\[(\w+)\]$", RIGHT, re.MULTILINE)
    assert isinstance(lexicon(), Mapping)
    read_only: Any = lexicon()
    with pytest.raises(TypeError):
        read_only["new"] = read_only["fever"]


@pytest.mark.parametrize("symptom", lexicon())
def test_a_symptom_can_be_said_in_enough_ways_to_hold_some_out(symptom: str) -> None:
    phrases = [" ".join(normalized(phrase)) for phrase in lexicon()[symptom].phrases]
    assert 4 <= len(phrases) <= 10
    contained = [one for one in phrases if any(one != other and f" {one} " in f" {other} " for other in phrases)]
    assert len(phrases) - len(contained) >= 4


@pytest.mark.parametrize("symptom", lexicon())
def test_every_wording_is_found_as_what_it_means(symptom: str) -> None:
    for wording in lexicon()[symptom].phrases + lexicon()[symptom].variants:
        assert (wording, named(f"I am here with {wording}.")) == (wording, [symptom])


def test_no_wording_stands_there_twice() -> None:
    words = [normalized(wording) for _, wording in WORDINGS]
    assert len(set(words)) == len(words)


def test_no_wording_is_a_word_of_negation() -> None:
    assert not {normalized(wording) for _, wording in WORDINGS} & set(negation_terms())


SAME = [
    "I can't catch my breath",
    "I CAN\u2019T CATCH MY BREATH",
    "He can't  catch\this breath!",
    "can't-catch-her-breath",
    "can't catch my\nbreath",
    "... can't catch their breath?",
]

OTHERS = [
    # Who has it makes no difference, nor does the form that follows from it.
    ("chest pain when she breathes in", ["pleuritic_chest_pain"]),
    ("a cough that wakes him up", ["nighttime_cough"]),
    ("their ankles swell, his lips are blue", ["leg_swelling", "cyanosis"]),
    ("one swollen leg", ["leg_swelling"]),
    ("He coughs and wheezes", ["cough", "wheezing"]),
    ("she's not knowing where she is", ["confusion"]),
    ("breathing really fast, a very bad cough", ["tachypnea", "cough"]),
    ("my ribs, really, hurt", []),
    # A word that only ends alike.
    ("feverus, chillss", []),
]


@pytest.mark.parametrize(("text", "symptoms"), OTHERS)
def test_a_caller_is_understood_as_the_patient_is(text: str, symptoms: list[str]) -> None:
    assert named(text) == symptoms


@pytest.mark.parametrize("text", SAME)
def test_spelling_makes_no_difference(text: str) -> None:
    assert named(text) == ["shortness_of_breath"]


OTHER = [
    # Parts of other words.
    "coughdrop",
    "feverfew",
    "_cough",
    "the sneezewort",
    # Words that only meet across a break.
    "chest. Pain in the neck",
    "chest, pain",
    "short (of breath)",
    "",
    " ",
    "...",
    "chest",
]


@pytest.mark.parametrize("text", OTHER)
def test_what_is_no_symptom(text: str) -> None:
    assert [name for name in named(text) if name != "cough"] == []


LONGEST = [
    ("a dry cough", ["dry_cough"]),
    ("coughing up pink frothy sputum", ["pink_frothy_sputum"]),
    ("hay fever", ["allergies"]),
    ("low-grade fever and then a high fever", ["low_grade_fever", "high_fever"]),
    ("chest pain when breathing", ["pleuritic_chest_pain"]),
    # The longer of two that overlap counts, though the other one begins earlier.
    ("sudden chest pain when breathing", ["pleuritic_chest_pain"]),
    ("cough cough", ["cough", "cough"]),
    ("wheezing/coughing", ["wheezing", "cough"]),
]


@pytest.mark.parametrize(("text", "symptoms"), LONGEST)
def test_the_longest_wording_counts(text: str, symptoms: list[str]) -> None:
    assert named(text) == symptoms


NEGATION = [
    ("no fever", ["-fever"]),
    ("She denies chest pain", ["-chest_pain"]),
    ("without chest pain", ["-chest_pain"]),
    ("I\u2019m not having chills", ["-chills"]),
    ("I have never had wheezing", ["-wheezing"]),
    ("he doesn't have a fever", ["-fever"]),
    ("He is not wheezing", ["-wheezing"]),
    ("no sign of any fever", ["-fever"]),
    ("neither wheezing nor a cough", ["-wheezing", "-cough"]),
    # The end of a clause ends it.
    ("no fever but a cough", ["-fever", "cough"]),
    ("no fever. A cough", ["-fever", "cough"]),
    ("no fever; cough", ["-fever", "cough"]),
    ("no fever\ncough", ["-fever", "cough"]),
    ("no fever \u2013 cough", ["-fever", "cough"]),
    ("No! Cough", ["cough"]),
    ("No, I have a fever", ["fever"]),
    ("No, it's a fever", ["fever"]),
    ("no fever and he is wheezing", ["-fever", "wheezing"]),
    ("no fever, my chest hurts", ["-fever", "chest_pain"]),
    ("a cough without fever because of sneezing", ["cough", "-fever", "sneezing"]),
    # A number's point ends no sentence.
    ("no temperature of 38.5 or chills", ["-chills"]),
    # Commas: a list goes on to its "or"; a clinician's list needs none.
    ("no fever, chills, or cough", ["-fever", "-chills", "-cough"]),
    ("no fever, coughing up blood", ["-fever", "hemoptysis"]),
    ("no fever, coughing up blood and can't eat or drink", ["-fever", "hemoptysis"]),
    (
        "Denies fever, chills, night sweats, hemoptysis, chest pain",
        ["-fever", "-chills", "-night_sweats", "-hemoptysis", "-chest_pain"],
    ),
    ("denies fever, reports a cough", ["-fever", "cough"]),
    # Five words between are the most; each item of a list carries it on.
    ("no one two three four five fever", ["fever"]),
    ("without one two three four five fever", ["-fever"]),
    ("without one two three four five six fever", ["fever"]),
    ("no chills and one two three four fever", ["-chills", "-fever"]),
    # What was said before it is untouched.
    ("a cough and no fever", ["cough", "-fever"]),
    ("cough, no fever, wheezing", ["cough", "-fever", "wheezing"]),
    # Words of negation that are part of a symptom, or deny no symptom.
    ("no energy and a fever", ["fatigue", "fever"]),
    ("can't breathe and a fever", ["shortness_of_breath", "fever"]),
    ("no relief from the wheezing", ["wheezing"]),
    ("does not stop coughing", ["cough"]),
    ("can't stop coughing", ["cough"]),
    ("not only a cough", ["cough"]),
    ("I've never had such chest pain", ["chest_pain"]),
    ("never had chest pain like this", ["chest_pain"]),
    ("never had chest pain. Like this", ["-chest_pain"]),
    ("she is not breathing", ["apnea"]),
    ("I have sleep apnea and a fever", ["fever"]),
    ("no chills, she feels a chest pain", ["-chills", "chest_pain"]),
    ("know fever, nobody coughing", ["fever", "cough"]),
    # Behind the symptom.
    ("fever absent, cough", ["-fever", "cough"]),
    ("chest pain is denied", ["-chest_pain"]),
    ("fever is gone, cough is bad", ["-fever", "cough"]),
    ("fever. Absent from work", ["fever"]),
]


@pytest.mark.parametrize(("text", "symptoms"), NEGATION)
def test_negation(text: str, symptoms: list[str]) -> None:
    assert named(text) == symptoms


def test_a_match_says_where_it_is() -> None:
    text = "Since Monday: coughing up blood, no FEVER."
    assert find_symptoms(text) == (
        Match("hemoptysis", 14, 31, "coughing up blood", False),
        Match("fever", 36, 41, "FEVER", True),
    )


PIECES = st.sampled_from(
    [
        *(wording for _, wording in WORDINGS),
        *(" ".join(term) for term in negation_terms()),
        ", ",
        ". ",
        " and ",
        " or ",
        "\n",
        "-",
        "'",
        "\u2019",
        "\u00df",
        "\u0130",
        "\ud83d\ude00",
        "\0",
    ]
)
TEXTS = st.text(max_size=200) | st.lists(PIECES, max_size=20).map(" ".join) | st.lists(PIECES, max_size=20).map("".join)


@given(TEXTS)
def test_any_text_has_an_answer_that_points_into_it(text: str) -> None:
    end = 0
    for match in find_symptoms(text):
        assert end <= match.start < match.end <= len(text)
        assert match.text == text[match.start : match.end]
        assert match.text[0].isalnum()
        assert match.text[-1].isalnum()
        assert match.symptom in lexicon()
        end = match.end


@given(TEXTS, TEXTS)
def test_sentences_do_not_touch_each_other(one: str, other: str) -> None:
    assert named(f"{one}.\n{other}") == named(one) + named(other)


@given(st.lists(PIECES, max_size=10).map(" ".join))
def test_case_and_apostrophes_make_no_difference(text: str) -> None:
    plain = text.replace("\u00df", "").replace("\u0130", "")
    assert named(plain.upper().replace("'", "\u2019")) == named(plain)


@given(st.lists(st.sampled_from(WORDINGS), max_size=10))
def test_apostrophes_can_be_left_out(pairs: list[tuple[str, str]]) -> None:
    text = " and ".join(wording for _, wording in pairs)
    assert named(text.replace("'", "")) == named(text)


@given(st.sampled_from(WORDINGS))
def test_a_denied_wording_is_denied(pair: tuple[str, str]) -> None:
    assert named(f"There is no evidence of {pair[1]}") == [f"-{pair[0]}"]


BROKEN = [
    ('label = "Fever"', "label = 3", "fever.label"),
    ('label = "Fever"', 'label = "Fever"\nextra = 1', "fever.extra"),
    ('"one sneeze after another", ', "", "sneezing.phrases"),
    ('"pyrexia"', '"..."', "fever: '...' has no words"),
    ('"pyrexia"', '"Wheezing"', "'wheezing' is a wording of both fever and wheezing"),
    ("[fever]", "[Fever]", "Fever.id"),
    ("[fever]", "[fever", "not TOML"),
]


@pytest.mark.parametrize(("old", "new", "place"), BROKEN)
def test_a_bad_file_is_told_by_name_and_place(old: str, new: str, place: str, tmp_path: Path) -> None:
    assert old in RIGHT
    path = tmp_path / "symptoms.toml"
    path.write_text(RIGHT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidFile) as caught:
        read_lexicon(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)
