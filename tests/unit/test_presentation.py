from __future__ import annotations

import pickle
import random
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.errors import UnknownCode
from phaita.models.bayesian_network import BayesianSymptomNetwork
from phaita.models.presentation import PatientPresentation, SymptomGenerator


def test_a_presentation_is_a_value() -> None:
    one = PatientPresentation("J45.9", ("cough", "wheezing"), "adult", "mild", {"presentation_type": "standard"})
    assert one == pickle.loads(pickle.dumps(one))
    symptoms: Any = ["cough", "wheezing"]
    assert len({one, PatientPresentation("J45.9", symptoms, "adult", "mild")}) == 2
    with pytest.raises(FrozenInstanceError):
        one.severity = "severe"  # type: ignore[misc]  # the assignment is to fail


def test_a_symptom_is_there_or_not() -> None:
    assert PatientPresentation("J45.9", ("cough", "wheezing", "cough")).symptoms == ("cough", "wheezing")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"symptoms": ()}, "none"),
        ({"symptoms": ("cough", "no_such_thing")}, "no_such_thing"),
        ({"age_group": "teenager"}, "child, adult, elderly"),
        ({"severity": "deadly"}, "mild, moderate, severe"),
    ],
)
def test_what_nobody_knows(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        PatientPresentation(**{"condition_code": "J45.9", "symptoms": ("cough",), **fields})


def test_an_unknown_code() -> None:
    with pytest.raises(UnknownCode, match=r"Z00\.0"):
        PatientPresentation("Z00.0", ("cough",))
    with pytest.raises(UnknownCode):
        SymptomGenerator().generate_symptoms("Z00.0")


def test_it_is_what_the_network_samples() -> None:
    ours = SymptomGenerator().generate_symptoms(
        "J44.9", age_group="elderly", severity="severe", comorbidities=["diabetes"], rng=random.Random(3)
    )
    symptoms, metadata = BayesianSymptomNetwork().sample_symptoms(
        "J44.9", "elderly", "severe", comorbidities=["diabetes"], rng=random.Random(3)
    )
    assert ours == PatientPresentation("J44.9", tuple(symptoms), "elderly", "severe", metadata)


def test_rare_cases_come_where_they_are_asked_for() -> None:
    generator, rng = SymptomGenerator(), random.Random(1)
    kinds = {
        generator.generate_symptoms("J45.9", include_rare=rare, rng=rng).metadata["presentation_type"]
        for rare in [False] * 50 + [True] * 300
    }
    assert kinds == {"standard", "rare"}


def test_without_a_code_each_condition_comes() -> None:
    generator, rng = SymptomGenerator(), random.Random(1)
    codes = {generator.generate_symptoms(rng=rng).condition_code for _ in range(200)}
    assert codes == set(RespiratoryConditions.get_all_conditions())


def test_the_same_random_numbers_give_the_same_patient() -> None:
    generator = SymptomGenerator()
    assert generator.generate_symptoms(rng=random.Random(9)) == generator.generate_symptoms(rng=random.Random(9))
    before = random.getstate()
    generator.generate_symptoms(rng=random.Random(9))
    assert random.getstate() == before
    random.seed(5)
    one = generator.generate_symptoms()
    random.seed(5)
    assert one == generator.generate_symptoms()


def test_another_network_can_be_given() -> None:
    network = BayesianSymptomNetwork()
    assert SymptomGenerator(network).network is network
