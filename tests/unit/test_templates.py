from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita.data.complaint_templates import FILE, Person, filled, listed, read_templates, sentence_templates
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import find_symptoms, lexicon
from phaita.errors import InvalidFile
from phaita.models.bayesian_network import AGE_GROUPS, SEVERITIES
from phaita.models.presentation import PatientPresentation, SymptomGenerator
from phaita.models.templates import TemplateComplaintGenerator

RIGHT = FILE.read_text(encoding="utf-8")
OURS = sentence_templates()
TEMPLATES = {**OURS.patient, **OURS.caller}
WHEEZING = PatientPresentation("J45.9", ("wheezing", "cough"), "adult", "mild")
COLD = PatientPresentation("J06.9", ("rhinorrhea", "sneezing", "sore_throat", "headache"))
BABY = PatientPresentation("J21.9", ("poor_feeding",), "child", "severe")
SON = Person("my son", "he", "his", "him")
DAUGHTER = Person("my daughter", "she", "her", "her")


def patients(many: int, seed: int = 0) -> list[PatientPresentation]:
    """Of all conditions, ages and severities, with and without."""
    rng, generator = random.Random(seed), SymptomGenerator()
    return [
        generator.generate_symptoms(
            age_group=rng.choice([None, *AGE_GROUPS]), severity=rng.choice([None, *SEVERITIES]), rng=rng
        )
        for _ in range(many)
    ]


def told(text: str) -> set[str]:
    """The symptoms that a text affirms."""
    return {match.symptom for match in find_symptoms(text) if not match.negated}


def test_there_are_templates_enough_to_hold_some_out() -> None:
    assert len(OURS.ids) == len(set(OURS.ids)) == len(set(TEMPLATES.values()))
    assert len(OURS.patient) >= 16
    assert len(OURS.caller) >= 8


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_names_a_symptom(name: str) -> None:
    full = re.sub(r"[\[\]]", "", TEMPLATES[name])
    assert find_symptoms(re.sub(r"\{\w+\}", "something", full)) == ()


def test_no_word_beside_the_templates_names_a_symptom() -> None:
    for text in [*OURS.when, *(one for ones in OURS.severity.values() for one in ones)]:
        assert find_symptoms(text) == ()


def test_every_symptom_can_be_said_in_two_ways_at_least() -> None:
    assert list(OURS.said) == list(lexicon())
    assert min(map(len, OURS.said.values())) >= 2


def test_articles_agree_with_what_they_stand_before() -> None:
    said = " / ".join(phrase for phrases in OURS.said.values() for phrase in phrases)
    assert re.findall(r"\ba [aeio]\w+|\ban [^aeiou]\w+", said) == []


def test_a_complaint_tells_the_symptoms_and_no_other() -> None:
    for one, text in zip(
        patients(400), TemplateComplaintGenerator().generate_complaints(patients(400), seed=1), strict=True
    ):
        found = told(text)
        assert found <= set(one.symptoms), text
        assert len(found) == min(6, len(one.symptoms)), text


def test_a_complaint_is_a_text() -> None:
    for text in TemplateComplaintGenerator().generate_complaints(patients(400, seed=1), seed=1):
        assert re.fullmatch(r"[A-Z].*[.?!]", text), text
        assert not re.search(r"[{}\[\]]|  | [.,?!]|[.,?!]{2}|[.?!] [a-z]", text), text


def test_no_complaint_gives_the_condition_away() -> None:
    names = [one.name.casefold() for one in RespiratoryConditions.get_all_conditions().values()]
    for text in TemplateComplaintGenerator().generate_complaints(patients(400, seed=2), seed=1):
        assert not [name for name in names if name in text.casefold()], text


def by_voice(group: str | None, code: str = "J45.9", symptom: str = "wheezing") -> list[str]:
    presentation = PatientPresentation(code, (symptom,), group)
    return TemplateComplaintGenerator().generate_complaints([presentation] * 60, seed=2)


def of_a_caller(text: str) -> bool:
    return any(person.who in text[0].lower() + text[1:] for people in OURS.people.values() for person in people)


def test_who_speaks() -> None:
    assert all(map(of_a_caller, by_voice("child")))
    assert all(map(of_a_caller, by_voice(None, "J21.9", "poor_feeding")))
    assert not any(map(of_a_caller, by_voice("adult")))
    assert not any(map(of_a_caller, by_voice(None)))
    assert 10 < sum(map(of_a_caller, by_voice("elderly"))) < 50


def test_a_caller_speaks_of_another() -> None:
    presentation = replace(BABY, symptoms=("chest_tightness",), condition_code="J45.9")
    phrases = {"chest_tightness": ["tightness in my chest"]}
    for text in TemplateComplaintGenerator(phrases=phrases).generate_complaints([presentation] * 40, seed=1):
        assert re.search(r"tightness in (his|her) chest", text), text


@pytest.mark.parametrize(
    ("phrase", "person", "said"),
    [
        ("a fever", SON, "a fever"),
        ("a whistling sound when I breathe", SON, "a whistling sound when he breathes"),
        ("not knowing where I am", DAUGHTER, "not knowing where she is"),
        ("pain in my side when I take a deep breath", DAUGHTER, "pain in her side when she takes a deep breath"),
        ("a cough that wakes me up", SON, "a cough that wakes him up"),
    ],
)
def test_a_phrase_in_anothers_mouth(phrase: str, person: Person, said: str) -> None:
    assert person.said_of(phrase) == said


def test_every_phrase_fits_anothers_mouth() -> None:
    """And still means the same."""
    for symptom, phrases in OURS.said.items():
        for phrase in phrases:
            said = SON.said_of(phrase)
            assert not re.search(r"\b(?:I|I'm|me|my|mine|myself|we|our|us)\b", said), said
            assert told(f"He is here with {said}.") == {symptom}, said


def test_an_age_fits_the_group_and_the_condition() -> None:
    def ages(group: str, code: str) -> set[str]:
        presentation = PatientPresentation(code, ("cough",), group)
        texts = TemplateComplaintGenerator().generate_complaints([presentation] * 600, seed=1)
        return set(re.findall(r"(\d+ \w+) old", " ".join(texts)))

    assert {int(age.split()[0]) for age in ages("elderly", "J18.9")} <= set(range(65, 96))
    assert {int(age.split()[0]) for age in ages("adult", "J44.9")} <= set(range(40, 65))
    asthma = ages("child", "J45.9")
    assert {int(age.split()[0]) for age in asthma} <= set(range(3, 18))
    babies = ages("child", "J21.9")
    assert any(age.endswith("months") for age in babies)
    assert {int(age.split()[0]) for age in babies if age.endswith("years")} <= {2}
    assert {int(age.split()[0]) for age in babies if age.endswith("months")} <= set(range(2, 24))
    assert ages("elderly", "J45.9")  # met at other ages mostly, and not only there


def test_a_severity_is_said_where_it_is_known() -> None:
    for severity in SEVERITIES:
        said = OURS.severity[severity]
        presentation = replace(WHEEZING, severity=severity)
        texts = TemplateComplaintGenerator().generate_complaints([presentation] * 20, seed=1)
        assert all(any(one in text for one in said) for text in texts)
    every = [one for ones in OURS.severity.values() for one in ones]
    texts = TemplateComplaintGenerator().generate_complaints([replace(WHEEZING, severity=None)] * 20, seed=1)
    assert not any(one in text for one in every for text in texts)


def test_the_same_seed_writes_the_same() -> None:
    generator, people = TemplateComplaintGenerator(), [WHEEZING, COLD, BABY]
    first = generator.generate_complaints(people, seed=1)
    assert first == TemplateComplaintGenerator().generate_complaints(people, seed=1)
    assert first != generator.generate_complaints(people, seed=2)
    assert first[:2] == generator.generate_complaints([WHEEZING, COLD, COLD, COLD], seed=1)[:2]
    assert first[0] == generator.generate_complaint(WHEEZING, seed=1)
    assert len(set(generator.generate_complaints([COLD] * 30, seed=1))) > 25


def test_without_a_seed_each_call_writes_anew_and_no_global_state_moves() -> None:
    before = random.getstate()
    generator = TemplateComplaintGenerator()
    assert generator.generate_complaints([COLD] * 5) != generator.generate_complaints([COLD] * 5)
    assert random.getstate() == before


def test_it_says_what_it_is() -> None:
    assert TemplateComplaintGenerator.kind == "template"
    assert repr(TemplateComplaintGenerator()) == f"TemplateComplaintGenerator({len(OURS.ids)} templates)"


def test_templates_and_phrases_can_be_chosen() -> None:
    chosen = TemplateComplaintGenerator(["is_here", "here_with"], {"wheezing": ["a whistling sound when I breathe"]})
    assert chosen.templates == ("here_with", "is_here")
    lone = PatientPresentation("J45.9", ("wheezing",))
    assert chosen.generate_complaints([lone] * 3) == ["I'm here with a whistling sound when I breathe."] * 3
    assert chosen.phrases["cough"] == OURS.said["cough"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"templates": ["here_with", "is_here", "nowhere"]}, "nowhere"),
        ({"templates": ["here_with"]}, "caller"),
        ({"templates": ["is_here"]}, "patient"),
        ({"phrases": {"no_such_thing": ["a cough"]}}, "no_such_thing"),
        ({"phrases": {"cough": ["a fever"]}}, "cough needs"),
        ({"phrases": {"cough": []}}, "cough needs"),
    ],
)
def test_what_can_not_be_chosen(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TemplateComplaintGenerator(**wrong)


@pytest.mark.parametrize(("held_out", "seed"), [(1 / 3, 0), (0.01, 1), (0.99, 2)])
def test_a_split_shares_neither_templates_nor_phrases(held_out: float, seed: int) -> None:
    first, second = TemplateComplaintGenerator.split(held_out, seed)
    assert sorted([*first.templates, *second.templates]) == sorted(OURS.ids)
    for symptom, phrases in OURS.said.items():
        assert sorted([*first.phrases[symptom], *second.phrases[symptom]]) == sorted(phrases)
        assert first.phrases[symptom]
        assert second.phrases[symptom]


def test_a_split_is_the_same_for_the_same_seed() -> None:
    first, _ = TemplateComplaintGenerator.split(seed=1)
    assert first.templates == TemplateComplaintGenerator.split(seed=1)[0].templates
    assert first.templates != TemplateComplaintGenerator.split(seed=2)[0].templates


def test_a_split_holds_out_its_part() -> None:
    _, second = TemplateComplaintGenerator.split()
    assert len(second.templates) == round(len(OURS.patient) / 3) + round(len(OURS.caller) / 3)


def test_no_more_than_six_symptoms_are_told_and_which_is_drawn() -> None:
    many = PatientPresentation("J45.9", tuple(RespiratoryConditions.get_symptoms_for_condition("J45.9")))
    texts = TemplateComplaintGenerator().generate_complaints([many] * 50, seed=1)
    assert {len(told(text)) for text in texts} == {6}
    assert set().union(*map(told, texts)) == set(many.symptoms)


@pytest.mark.parametrize(
    ("phrases", "text"),
    [
        ([], ""),
        (["a fever"], "a fever"),
        (["a fever", "chills"], "a fever and chills"),
        (["a fever", "chills", "a cough"], "a fever, chills and a cough"),
        (["a fever", "itchy, watery eyes"], "a fever, and itchy, watery eyes"),
        (["a dry mouth and no tears", "a cough"], "a dry mouth and no tears, and a cough"),
    ],
)
def test_phrases_make_a_list(phrases: list[str], text: str) -> None:
    assert listed(phrases) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("It is {main}.[ And {also}.]", "It is a fever."),
        ("{main}. {main}?[ {also}]", "A fever. A fever?"),
        ("[I'm {age}, and ]I have {main}.", "I'm 9 years old, and I have a fever."),
        ("I have {main}[, {age}, {also}].", "I have a fever."),
    ],
)
def test_a_template_is_filled(template: str, text: str) -> None:
    assert filled(template, {"main": "a fever", "also": "", "age": "9 years old"}) == text


@given(st.text(alphabet="abc .!?", max_size=30))
def test_filling_changes_nothing_but_capitals(text: str) -> None:
    assert filled(text, {}).casefold() == text.casefold()


BROKEN = [
    ("[patient]\n", '[patient]\nnew = "I am {nobody}: {main}.[ {also}]"\n', r"patient\.new: unknown slot: nobody"),
    ("[patient]\n", '[patient]\nnew = "{who} has {main}.[ {also}]"\n', r"patient\.new: unknown slot: who"),
    ("[patient]\n", '[patient]\nnew = "{main} and {also}."\n', r"patient\.new: .*\{also\}"),
    ("[patient]\n", '[patient]\nnew = "Well.[ {main}.][ {also}]"\n', r"patient\.new: .*\{main\}"),
    ("[patient]\n", '[patient]\nnew = "{main}.[ {also}] {severity}"\n', r"patient\.new: .*\{severity\}"),
    ("[patient]\n", '[patient]\nnew = "{main}.[ {also}"\n', r"patient\.new: .*not closed|patient\.new: .*\{also\}"),
    ("[patient]\n", '[patient]\nnew = "{main}.[ {also}] ]"\n', r"patient\.new: .*not closed"),
    ("[patient]\n", '[patient]\nis_here = "{main}.[ {also}]"\n', r"caller: .*is_here"),
    ("[caller]\n", '[caller]\nnew = "[{who} is {age}. ]{he} has {main}.[ {also}]"\n', r"caller\.new: .*\{who\}"),
    ("[patient]\n", "[patient]\nnew = 3\n", r"patient\.new"),
    ("not_said = [\n", 'not_said = [\n"a made-up word",\n', r"not_said: .*a made-up word"),
    ("not_said = [\n", 'not_said = [\n"a cough", "coughing fits", "a nagging cough",\n', r"not_said: .*cough"),
    ("mild = ", "slight = ", r"severity: .*mild, moderate, severe"),
    ("infant = ", "newborn = ", r"people: .*infant, child, elderly"),
    ("when = ", "wenn = ", r"wenn"),
    ("[severity]", "[severity", r"not TOML"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_a_file_that_can_not_be_meant(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in RIGHT
    path = tmp_path / "templates.toml"
    path.write_text(RIGHT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidFile, match=message) as caught:
        read_templates(path)
    assert str(path) in str(caught.value)


def test_the_file_itself_is_right(tmp_path: Path) -> None:
    path = tmp_path / "templates.toml"
    path.write_text(RIGHT, encoding="utf-8")
    assert read_templates(path) == OURS
