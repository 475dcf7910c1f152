from __future__ import annotations

import pickle
import random
import tomllib
from collections import Counter
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from phaita.data.icd_conditions import FILE, Condition, RespiratoryConditions, read_conditions
from phaita.data.symptoms import find_symptoms, lexicon
from phaita.errors import InvalidFile, UnknownCode

NAMES = {
    "J45.9": "Asthma",
    "J18.9": "Pneumonia",
    "J44.9": "Chronic obstructive pulmonary disease",
    "J06.9": "Upper respiratory infection",
    "J20.9": "Acute bronchitis",
    "J81.0": "Acute pulmonary edema",
    "J93.0": "Spontaneous tension pneumothorax",
    "J15.9": "Bacterial pneumonia",
    "J12.9": "Viral pneumonia",
    "J21.9": "Acute bronchiolitis",
}
CONDITIONS = RespiratoryConditions.get_all_conditions()


def test_the_ten_conditions_in_the_order_of_the_labels() -> None:
    assert [(code, one.name) for code, one in CONDITIONS.items()] == list(NAMES.items())
    assert all(code == one.code for code, one in CONDITIONS.items())


def test_every_access_gives_the_same_record() -> None:
    asthma = RespiratoryConditions.get_condition_by_code("J45.9")
    assert asthma is CONDITIONS["J45.9"]
    assert RespiratoryConditions.get_symptoms_for_condition("J45.9") == list(asthma.symptoms)
    assert RespiratoryConditions.get_lay_terms_for_condition("J45.9") == list(asthma.lay_terms)
    assert all(asthma[one.name] == getattr(asthma, one.name) for one in fields(Condition))


def test_records_are_values() -> None:
    asthma = CONDITIONS["J45.9"]
    with pytest.raises(FrozenInstanceError):
        asthma.name = "x"  # type: ignore[misc]  # the assignment is to fail
    assert pickle.loads(pickle.dumps(asthma)) == asthma
    names: list[Any] = ["nothing", "__class__", 0]
    for name in names:
        with pytest.raises(KeyError):
            asthma[name]


def test_what_a_caller_does_to_an_answer_stays_there() -> None:
    RespiratoryConditions.get_all_conditions().clear()
    RespiratoryConditions.get_symptoms_for_condition("J45.9").clear()
    assert RespiratoryConditions.get_all_conditions() == CONDITIONS
    assert RespiratoryConditions.get_symptoms_for_condition("J45.9")


@pytest.mark.parametrize("code", ["J45", "j45.9", "", "Asthma", None])
def test_an_unknown_code_lists_the_known_ones(code: Any) -> None:
    for ask in (
        RespiratoryConditions.get_condition_by_code,
        RespiratoryConditions.get_symptoms_for_condition,
        RespiratoryConditions.get_lay_terms_for_condition,
    ):
        with pytest.raises(UnknownCode) as caught:
            ask(code)
        assert repr(code) in str(caught.value)
        assert all(known in str(caught.value) for known in NAMES)
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, ValueError)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_any_condition_comes_at_random() -> None:
    rng = random.Random(7)
    drawn = Counter(RespiratoryConditions.get_random_condition(rng) for _ in range(2000))
    assert {code for code, _ in drawn} == set(NAMES)
    assert all(one is CONDITIONS[code] for code, one in drawn)
    # 200 are expected of each; five standard deviations are 67.
    assert all(133 <= count <= 267 for count in drawn.values())


def test_seeds() -> None:
    def five(rng: random.Random | None) -> list[str]:
        return [RespiratoryConditions.get_random_condition(rng)[0] for _ in range(5)]

    assert five(random.Random(3)) == five(random.Random(3)) != five(random.Random(4))
    state = random.getstate()
    try:
        random.seed(3)
        assert five(None) == five(random.Random(3))
    finally:
        random.setstate(state)


@pytest.mark.parametrize("code", NAMES)
def test_a_record_holds_what_its_users_need(code: str) -> None:
    one = CONDITIONS[code]
    assert 8 <= len(one.symptoms) <= 12
    assert len(one.lay_terms) >= 8
    assert min(len(one.severity_indicators), len(one.risk_factors)) >= 5
    for texts in (one.symptoms, one.severity_indicators, one.lay_terms, one.risk_factors):
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("code", NAMES)
def test_lay_terms_name_symptoms_of_their_condition_and_no_others(code: str) -> None:
    one = CONDITIONS[code]
    named = {match.symptom for term in one.lay_terms for match in find_symptoms(term) if not match.negated}
    assert named <= set(one.symptoms)
    # A term may be a word for the whole disease, but most describe it.
    assert sum(bool(find_symptoms(term)) for term in one.lay_terms) >= len(one.lay_terms) - 1


def test_no_lay_term_stands_for_two_conditions() -> None:
    terms = [term for one in CONDITIONS.values() for term in one.lay_terms]
    assert len(set(terms)) == len(terms)


def test_every_symptom_belongs_somewhere() -> None:
    assert {name for one in CONDITIONS.values() for name in one.symptoms} == set(lexicon())


TELLING = [
    # Each of these points to one condition alone.
    ("pink_frothy_sputum", {"J81.0"}),
    ("orthopnea", {"J81.0"}),
    ("unilateral_chest_pain", {"J93.0"}),
    ("rigors", {"J15.9"}),
    ("rusty_sputum", {"J15.9"}),
    ("barrel_chest", {"J44.9"}),
    ("retractions", {"J21.9"}),
    ("sneezing", {"J06.9"}),
    ("symptom_triggers", {"J45.9"}),
    # These are shared, and medicine does not tell the conditions apart by them.
    ("wheezing", {"J45.9", "J44.9", "J20.9", "J12.9", "J21.9"}),
    ("myalgia", {"J12.9", "J06.9"}),
]


@pytest.mark.parametrize(("symptom", "codes"), TELLING)
def test_what_tells_conditions_apart(symptom: str, codes: set[str]) -> None:
    assert {code for code, one in CONDITIONS.items() if symptom in one.symptoms} == codes


def test_no_two_conditions_have_the_same_symptoms() -> None:
    assert len({frozenset(one.symptoms) for one in CONDITIONS.values()}) == len(CONDITIONS)


RIGHT = FILE.read_text(encoding="utf-8")
BROKEN = [
    ('name = "Asthma"', "name = 7", '"J45.9".name'),
    ('name = "Asthma"', 'name = ""', '"J45.9".name'),
    ('name = "Asthma"', 'title = "Asthma"', '"J45.9".title'),
    ('name = "Asthma"\n', "", '"J45.9".name'),
    ('["J44.9"]', '["44"]', "44.code"),
    ('    "wheezing",', '    "weezing",', '"J45.9".symptoms[0]: '),
    ('    "wheezing",', '    "dry_cough",', '"J45.9".symptoms: one is there twice'),
    ("[[3, 40]]", "[[40, 3]]", '"J45.9".age_ranges'),
    ("[[3, 40]]", "[[-1, 3]]", '"J45.9".age_ranges[0][0]'),
    ("[[3, 40]]", "[]", '"J45.9".age_ranges'),
    ('["J45.9"]\n', '["J45.9"\n', "not TOML"),
    ('["J45.9"]\n', 'note = 1\n["J45.9"]\n', "note: "),
]


@pytest.mark.parametrize(("old", "new", "place"), BROKEN)
def test_a_bad_file_is_told_by_name_and_place(old: str, new: str, place: str, tmp_path: Path) -> None:
    assert old in RIGHT
    path = tmp_path / "conditions.toml"
    path.write_text(RIGHT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidFile) as caught:
        read_conditions(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="can't be read"):
        read_conditions(tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidFile, match="not UTF-8"):
        read_conditions(tmp_path / "bytes.toml")


def test_every_key_of_the_file_reaches_the_record() -> None:
    for code, table in tomllib.loads(RIGHT).items():
        assert set(table) | {"code"} == {one.name for one in fields(Condition)}
        assert tuple(table["symptoms"]) == CONDITIONS[code].symptoms
