"""The symptoms that are drawn, how often, and for which arguments."""

from __future__ import annotations

import math
import random
import warnings
from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptom_network import Estimate, Presentations, symptom_network
from phaita.data.symptoms import lexicon
from phaita.errors import UnknownCode
from phaita.models.bayesian_network import AGE_GROUPS, COMORBIDITIES, SEVERITIES, BayesianSymptomNetwork
from phaita.models.enhanced_bayesian_network import create_enhanced_bayesian_network
from tests.unit.network import CODES, NETWORK, possible

MODIFIERS: list[dict[str, Any]] = [
    {},
    {"age_group": "child", "severity": "mild"},
    {"age_group": "elderly", "severity": "severe"},
    {"age_group": "adult", "comorbidities": ["copd", "heart_failure", "immunosuppression"]},
    {"severity": "moderate", "comorbidities": ["asthma", "diabetes", "obesity", "hypertension", "smoking"]},
]
ARGUMENTS = st.fixed_dictionaries(
    {
        "code": st.sampled_from(CODES),
        "age_group": st.sampled_from([None, *AGE_GROUPS]),
        "severity": st.sampled_from([None, *SEVERITIES]),
        "comorbidities": st.none() | st.lists(st.sampled_from(COMORBIDITIES), max_size=8),
    }
)


def limit(degrees: int) -> float:
    """The value that a chi-square of so many degrees of freedom exceeds once in 10,000 times (Wilson and Hilferty)."""
    spread = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - spread + NormalDist().inv_cdf(0.9999) * math.sqrt(spread)) ** 3


def chi_square(observed: Counter[Any], expected: dict[Any, float]) -> float:
    return sum((observed[key] - count) ** 2 / count for key, count in expected.items())


@pytest.mark.parametrize("modifiers", MODIFIERS, ids=str)
@pytest.mark.parametrize("code", CODES)
def test_what_is_sampled_is_what_is_told(code: str, modifiers: dict[str, Any]) -> None:
    samples, rng = 2000, random.Random(11)
    seen = Counter(s for _ in range(samples) for s in NETWORK.sample_symptoms(code, rng=rng, **modifiers)[0])
    chances = possible(code=code, **modifiers)
    assert set(seen) <= set(chances)
    # Symptoms are independent, so the squares of so many standard scores add up to a chi-square.
    scores = [(seen[s] - samples * p) ** 2 / (samples * p * (1 - p)) for s, p in chances.items()]
    assert sum(scores) < limit(len(chances))


@pytest.mark.parametrize("code", CODES)
def test_symptoms_are_independent(code: str) -> None:
    samples, rng = 3000, random.Random(12)
    chances = possible(code=code)
    drawn = [set(NETWORK.sample_symptoms(code, rng=rng)[0]) for _ in range(samples)]
    for one, other in combinations(sorted(chances, key=lambda name: abs(chances[name] - 0.5))[:5], 2):
        observed = Counter((one in symptoms, other in symptoms) for symptoms in drawn)
        expected = {
            (here, there): samples * abs(chances[one] - (not here)) * abs(chances[other] - (not there))
            for here, there in product((True, False), repeat=2)
        }
        assert chi_square(observed, expected) < limit(3)


def faint(p: float) -> BayesianSymptomNetwork:
    """A network in which asthma seldom shows anything."""
    few = {symptom: Estimate(p, "estimate") for symptom in symptom_network().conditions["J45.9"].symptoms}
    conditions = {**symptom_network().conditions, "J45.9": Presentations(few)}
    return BayesianSymptomNetwork(replace(symptom_network(), conditions=conditions))


def test_nobody_comes_without_a_symptom_and_the_probability_knows_it() -> None:
    network, samples, rng = faint(0.02), 4000, random.Random(13)
    drawn = [tuple(network.sample_symptoms("J45.9", rng=rng)[0]) for _ in range(samples)]
    assert min(map(len, drawn)) == 1
    sizes = Counter(min(len(symptoms), 3) for symptoms in drawn)
    some = 1.0 - 0.98**12
    of_size = {size: math.comb(12, size) * 0.02**size * 0.98 ** (12 - size) / some for size in range(1, 13)}
    shares = {1: of_size[1], 2: of_size[2], 3: sum(of_size[size] for size in range(3, 13))}
    assert chi_square(sizes, {size: samples * share for size, share in shares.items()}) < limit(2)
    assert network.probability("wheezing", "J45.9") == pytest.approx(0.02 / some)
    average = sum(size * share for size, share in of_size.items())
    assert sum(network.probability(symptom, "J45.9") for symptom in lexicon()) == pytest.approx(average)


@given(p=st.floats(1e-6, 1, exclude_max=True))
def test_probabilities_given_a_symptom_stay_probabilities(p: float) -> None:
    told = faint(p).probability("wheezing", "J45.9")
    assert p <= told <= 1.0
    # Of twelve alike, each has at least the share that it would have were there one symptom alone.
    assert told >= 1 / 12


@given(ARGUMENTS)
def test_every_probability_is_one(arguments: dict[str, Any]) -> None:
    chances = possible(**arguments)
    assert set(RespiratoryConditions.get_symptoms_for_condition(arguments["code"])) <= set(chances)
    assert all(0.0 < chance < 1.0 for chance in chances.values())


@given(ARGUMENTS, st.booleans(), st.integers(0, 2**32))
def test_every_sample_can_be(arguments: dict[str, Any], include_rare: bool, seed: int) -> None:
    symptoms, metadata = NETWORK.sample_symptoms(**arguments, include_rare=include_rare, rng=random.Random(seed))
    assert symptoms
    assert len(set(symptoms)) == len(symptoms)
    given_ones = list(dict.fromkeys(arguments["comorbidities"] or ()))
    assert metadata.get("comorbidities", []) == given_ones
    assert ("comorbidities" in metadata) == bool(given_ones)
    if metadata["presentation_type"] == "rare":
        assert include_rare
        assert metadata["case_name"]
    else:
        assert metadata["presentation_type"] == "standard"
        assert "case_name" not in metadata
        assert set(symptoms) <= set(possible(**arguments))
    again = NETWORK.sample_symptoms(**arguments, include_rare=include_rare, rng=random.Random(seed))
    assert again == (symptoms, metadata)


def test_symptoms_come_in_the_conditions_order() -> None:
    order = RespiratoryConditions.get_symptoms_for_condition("J12.9")
    rng = random.Random(3)
    for _ in range(50):
        symptoms, _ = NETWORK.sample_symptoms("J12.9", rng=rng)
        assert symptoms == [one for one in order if one in symptoms]


def test_without_a_generator_random_seed_rules() -> None:
    state = random.getstate()
    try:
        random.seed(5)
        assert NETWORK.sample_symptoms("J45.9") == NETWORK.sample_symptoms("J45.9", rng=random.Random(5))
        assert NETWORK.sample_symptoms("J45.9") != NETWORK.sample_symptoms("J45.9", rng=random.Random(5))
    finally:
        random.setstate(state)


@pytest.mark.parametrize(("code", "own"), [("J45.9", "asthma"), ("J44.9", "copd")])
def test_a_disease_beside_itself_changes_nothing(code: str, own: str) -> None:
    assert possible(code=code, comorbidities=[own]) == possible(code=code)
    assert NETWORK.sample_symptoms(code, comorbidities=[own], rng=random.Random(1))[1]["comorbidities"] == [own]


def test_a_comorbidity_named_twice_counts_once() -> None:
    assert possible(code="J18.9", comorbidities=["copd", "copd"]) == possible(code="J18.9", comorbidities=("copd",))


@given(ARGUMENTS)
def test_the_order_of_comorbidities_makes_no_difference(arguments: dict[str, Any]) -> None:
    turned = {**arguments, "comorbidities": list(reversed(arguments["comorbidities"] or ()))}
    assert possible(**turned) == pytest.approx(possible(**arguments))


RARE = [(code, age) for code in CODES for age in (None, *AGE_GROUPS)]


@pytest.mark.parametrize(("code", "age_group"), RARE)
def test_rare_cases_come_in_their_share(code: str, age_group: str | None) -> None:
    samples, rng = 2000, random.Random(14)
    cases = {
        case.case_name: case
        for case in symptom_network().conditions[code].rare
        if age_group is None or age_group in case.age_groups
    }
    seen: Counter[str | None] = Counter()
    for _ in range(samples):
        symptoms, metadata = NETWORK.sample_symptoms(code, age_group, include_rare=True, rng=rng)
        seen[name := metadata.get("case_name")] += 1
        if name is not None:
            assert symptoms == list(cases[name].symptoms)
            assert metadata["presentation_type"] == "rare"
    expected: dict[str | None, float] = {name: samples * case.weight for name, case in cases.items()}
    expected[None] = samples - sum(expected.values())
    assert set(seen) <= set(expected)
    assert chi_square(seen, expected) < limit(max(len(cases), 1))


def test_rare_cases_come_only_when_asked_for_and_every_condition_has_one() -> None:
    rng = random.Random(15)
    for code in CODES:
        kinds = {NETWORK.sample_symptoms(code, rng=rng)[1]["presentation_type"] for _ in range(200)}
        assert kinds == {"standard"}
        assert symptom_network().conditions[code].rare
    names = [case.case_name for shown in symptom_network().conditions.values() for case in shown.rare]
    assert len(set(names)) == len(names)


UNKNOWN: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"code": "J99"}, UnknownCode, "J45.9, J18.9"),
    ({"code": None}, UnknownCode, "None"),
    ({"age_group": "baby"}, ValueError, "age_group must be one of child, adult, elderly or None, got 'baby'"),
    ({"age_group": ""}, ValueError, "age_group"),
    ({"severity": "fatal"}, ValueError, "severity must be one of mild, moderate, severe or None, got 'fatal'"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), UNKNOWN)
def test_what_cannot_be_meant(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    arguments = {"code": "J45.9", **arguments}
    with pytest.raises(error, match=says):
        NETWORK.sample_symptoms(**arguments)
    with pytest.raises(error, match=says):
        NETWORK.probability("wheezing", **arguments)


def test_an_unknown_symptom() -> None:
    with pytest.raises(ValueError, match="no symptom 'weezing'"):
        NETWORK.probability("weezing", "J45.9")


def test_evidence_of_an_unknown_code() -> None:
    with pytest.raises(UnknownCode):
        NETWORK.get_evidence_sources("J99")


def test_unknown_comorbidities_are_left_out_with_one_warning_a_call() -> None:
    known = NETWORK.sample_symptoms("J18.9", comorbidities=["copd"], rng=random.Random(2))
    for comorbidities in (["gout", "copd", "flu"], ("copd", "gout", "gout")):
        with pytest.warns(UserWarning, match="'gout'.*known are diabetes, obesity") as told:
            assert NETWORK.sample_symptoms("J18.9", comorbidities=comorbidities, rng=random.Random(2)) == known
        assert len(told) == 1
        assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="'gout'") as told:
        assert NETWORK.probability("fever", "J18.9", comorbidities=["gout"]) == NETWORK.probability("fever", "J18.9")
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="'gout'"):
        assert "comorbidities" not in NETWORK.sample_symptoms("J18.9", comorbidities=["gout"])[1]


@pytest.mark.parametrize("given_ones", [None, [], ()])
def test_comorbidities_that_are_none(given_ones: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "comorbidities" not in NETWORK.sample_symptoms("J45.9", comorbidities=given_ones)[1]


def test_one_comorbidity_may_come_as_a_text_and_all_as_an_iterator() -> None:
    assert possible(code="J18.9", comorbidities="copd") == possible(code="J18.9", comorbidities=["copd"])
    _, metadata = NETWORK.sample_symptoms("J18.9", comorbidities=iter(["copd", "smoking"]), rng=random.Random(1))
    assert metadata["comorbidities"] == ["copd", "smoking"]


def test_the_enhanced_network_is_the_same() -> None:
    enhanced = create_enhanced_bayesian_network()
    assert type(enhanced) is BayesianSymptomNetwork
    arguments: dict[str, Any] = {"code": "J45.9", "age_group": "child", "include_rare": True}
    for seed in range(20):
        assert enhanced.sample_symptoms(rng=random.Random(seed), **arguments) == NETWORK.sample_symptoms(
            rng=random.Random(seed), **arguments
        )
