"""The network's figures: what they say, and what is refused of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptom_network import FILE, SymptomNetwork, read_network, symptom_network
from phaita.errors import InvalidFile
from phaita.models.bayesian_network import COMORBIDITIES
from tests.unit.network import CODES, NETWORK, possible

HAND = [
    # A typical patient: the estimate itself, over the chance that there is a symptom at all.
    ("fever", {}, 0.75),
    # Odds of 3 halved: 1.5.
    ("fever", {"age_group": "elderly"}, 0.6),
    # Odds of 3 times 0.5 times 0.6: 0.9.
    ("fever", {"age_group": "elderly", "comorbidities": ["immunosuppression"]}, 0.9 / 1.9),
    # Odds of 1/9 times 5 times 4.
    ("confusion", {"age_group": "elderly", "severity": "severe"}, 20 / 29),
    # Not a symptom of the condition: what the comorbidity brings, and two together.
    ("chronic_cough", {"comorbidities": ["smoking"]}, 0.35),
    ("chronic_cough", {"comorbidities": ["smoking", "copd"]}, 1 - 0.65 * 0.18),
    # Of both: the condition alone 0.6, the comorbidity alone 0.25.
    ("fatigue", {"comorbidities": ["diabetes"]}, 1 - 0.4 * 0.75),
    ("sneezing", {}, 0.0),
]


@pytest.mark.parametrize(("symptom", "modifiers", "alone"), HAND)
def test_figures_by_hand(symptom: str, modifiers: dict[str, Any], alone: float) -> None:
    told = NETWORK.probability(symptom, "J18.9", **modifiers)
    # Without any symptom come fewer than four in ten thousand, so the two differ by as much.
    assert alone <= told <= alone * 1.0004


@pytest.mark.parametrize(("code", "other"), [("J45.9", "copd"), ("J44.9", "asthma"), ("J18.9", ["asthma", "copd"])])
def test_the_overlap_of_asthma_and_copd_coughs(code: str, other: Any) -> None:
    assert NETWORK.probability("chronic_cough", code, comorbidities=other) == pytest.approx(0.9, abs=0.02)
    assert NETWORK.probability("chronic_cough", code) < 0.85


MORE = [
    ("J18.9", "confusion", {"age_group": "adult"}, {"age_group": "elderly"}),
    ("J15.9", "high_fever", {"age_group": "elderly"}, {"age_group": "adult"}),
    ("J15.9", "tachypnea", {"severity": "mild"}, {"severity": "severe"}),
    ("J45.9", "unable_to_speak", {"severity": "moderate"}, {"severity": "severe"}),
    ("J21.9", "poor_feeding", {"age_group": "adult"}, {"age_group": "child"}),
    ("J18.9", "leg_swelling", {}, {"comorbidities": ["heart_failure"]}),
    ("J18.9", "fever", {"comorbidities": ["immunosuppression"]}, {}),
]


@pytest.mark.parametrize(("code", "symptom", "less", "more"), MORE)
def test_modifiers_go_the_way_that_medicine_says(
    code: str, symptom: str, less: dict[str, Any], more: dict[str, Any]
) -> None:
    assert NETWORK.probability(symptom, code, **less) < NETWORK.probability(symptom, code, **more)


EXCLUSIVE = [
    ("dry_cough", "productive_cough"),
    ("fever", "high_fever"),
    ("fever", "low_grade_fever"),
    ("low_grade_fever", "high_fever"),
]


@pytest.mark.parametrize(("one", "other"), EXCLUSIVE)
def test_no_presentation_contradicts_itself(one: str, other: str) -> None:
    for code, shown in symptom_network().conditions.items():
        assert not {one, other} <= set(possible(code=code, comorbidities=COMORBIDITIES))
        assert not any({one, other} <= set(case.symptoms) for case in shown.rare)


@pytest.mark.parametrize("code", CODES)
def test_every_figure_is_called_an_estimate(code: str) -> None:
    sources = NETWORK.get_evidence_sources(code)
    assert list(sources) == RespiratoryConditions.get_symptoms_for_condition(code)
    assert all("estimate" in source for source in sources.values())


def test_the_one_figure_of_a_guideline_is_the_guidelines() -> None:
    assert "30 %" in NETWORK.get_evidence_sources("J21.9")["low_grade_fever"]
    assert NETWORK.probability("low_grade_fever", "J21.9") == pytest.approx(0.30, abs=0.001)


def test_every_source_is_used() -> None:
    used = {one.source for shown in symptom_network().conditions.values() for one in shown.symptoms.values()}
    assert used == set(symptom_network().sources)


RIGHT = FILE.read_text(encoding="utf-8")
BROKEN = [
    ('wheezing = { p = 0.85, source = "gina" }\n', "", 'conditions."J45.9".symptoms: missing: wheezing'),
    ("wheezing = { p = 0.85,", "sneezing = { p = 0.85,", 'conditions."J45.9".symptoms: missing: wheezing'),
    ("wheezing = { p = 0.85,", "fever = { p = 0.85,\n", "not TOML"),
    ("p = 0.85,", "p = 1.0,", 'conditions."J45.9".symptoms.wheezing.p: '),
    ("p = 0.85,", "p = 0.0,", 'conditions."J45.9".symptoms.wheezing.p: '),
    ("p = 0.85,", "p = nan,", 'conditions."J45.9".symptoms.wheezing.p: '),
    ("p = 0.85,", "q = 0.85,", 'conditions."J45.9".symptoms.wheezing.q: unknown key'),
    ('0.85, source = "gina"', '0.85, source = "none"', "wheezing: no source 'none'"),
    ('case_name = "cough_variant_asthma"', "", 'conditions."J45.9".rare[0].case_name: '),
    ("weight = 0.05", "weight = 0.99", 'conditions."J45.9".rare: the weights'),
    ('age_groups = ["elderly"]', 'age_groups = ["old"]', 'conditions."J18.9".rare[0].age_groups[0]: '),
    ("[age_groups.child]", "[age_groups.baby]", "age_groups: missing: child"),
    ("[severities.moderate]", "", "severities: missing: moderate"),
    ("[comorbidities.hypertension.", "[comorbidities.snoring.", "comorbidities: missing: hypertension"),
    ("allergies = 1.4", "allergies = 0.0", "age_groups.child.allergies: "),
    ("allergies = 1.4", "allergys = 1.4", "'allergys' is not in the lexicon"),
    ("fatigue = 0.25", "fatigue = 25", "comorbidities.diabetes.causes.fatigue: "),
    ('code = "J44.9"', 'code = "J44"', "comorbidities.copd.code: "),
]


@pytest.mark.parametrize(("old", "new", "place"), BROKEN)
def test_a_bad_file_is_told_by_name_and_place(old: str, new: str, place: str, tmp_path: Path) -> None:
    assert old in RIGHT
    path = tmp_path / "network.toml"
    path.write_text(RIGHT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidFile) as caught:
        read_network(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def test_figures_put_together_in_code_are_checked_too() -> None:
    with pytest.raises(ValueError, match="conditions: missing: J06"):
        replace(symptom_network(), conditions={})
    assert isinstance(read_network(FILE), SymptomNetwork)
    assert read_network(FILE) == symptom_network()
