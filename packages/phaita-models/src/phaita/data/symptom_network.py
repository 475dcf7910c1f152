"""The figures of the symptom network, from which phaita.models.bayesian_network computes probabilities."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from phaita._read import Strict, read_toml
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import SymptomId

__all__ = [
    "AGE_GROUPS",
    "COMORBIDITIES",
    "SEVERITIES",
    "Comorbidity",
    "Estimate",
    "Presentations",
    "RareCase",
    "SymptomNetwork",
    "read_network",
    "symptom_network",
]

FILE = Path(__file__).with_name("network.toml")

AgeGroup = Literal["child", "adult", "elderly"]
AGE_GROUPS: tuple[AgeGroup, ...] = get_args(AgeGroup)
SEVERITIES = ("mild", "moderate", "severe")
COMORBIDITIES = (
    "diabetes",
    "obesity",
    "hypertension",
    "copd",
    "asthma",
    "heart_failure",
    "smoking",
    "immunosuppression",
)

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
Factors = dict[SymptomId, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]


@dataclass(frozen=True, slots=True)
class Estimate(Strict):
    """The probability of a symptom in a typical patient of moderate severity, and the key of its source."""

    p: Probability
    source: str


@dataclass(frozen=True, slots=True)
class RareCase(Strict):
    """A rare presentation. weight: its share of the condition's presentations. age_groups: those that can have it."""

    case_name: str
    symptoms: Annotated[tuple[SymptomId, ...], Field(min_length=1)]
    weight: Probability
    age_groups: tuple[AgeGroup, ...] = AGE_GROUPS


@dataclass(frozen=True, slots=True)
class Presentations(Strict):
    """The presentations of one condition: its symptoms, and its rare cases."""

    symptoms: dict[SymptomId, Estimate]
    rare: tuple[RareCase, ...] = ()


@dataclass(frozen=True, slots=True)
class Comorbidity(Strict):
    """A comorbidity. factors: of a symptom's odds. causes: probabilities of its own symptoms. code: as a condition."""

    factors: Factors = field(default_factory=dict)
    causes: dict[SymptomId, Probability] = field(default_factory=dict)
    code: str | None = None


@dataclass(frozen=True, slots=True)
class SymptomNetwork(Strict):
    """All figures. Raises ValueError for a missing or unknown condition, symptom, source or modifier."""

    sources: dict[str, str]
    conditions: dict[str, Presentations]
    age_groups: dict[str, Factors]
    severities: dict[str, Factors]
    comorbidities: dict[str, Comorbidity]

    def __post_init__(self) -> None:
        # A symptom without a figure would never be drawn, without any error.
        conditions = RespiratoryConditions.get_all_conditions()
        _check_keys("conditions", self.conditions, conditions)
        _check_keys("age_groups", self.age_groups, AGE_GROUPS)
        _check_keys("severities", self.severities, SEVERITIES)
        _check_keys("comorbidities", self.comorbidities, COMORBIDITIES)
        for name, one in self.comorbidities.items():
            if one.code not in {None, *conditions}:
                raise ValueError(f"comorbidities.{name}.code: unknown condition code {one.code!r}")
        for code, presentations in self.conditions.items():
            _check_keys(f'conditions."{code}".symptoms', presentations.symptoms, conditions[code].symptoms)
            for symptom, estimate in presentations.symptoms.items():
                if estimate.source not in self.sources:
                    raise ValueError(f'conditions."{code}".symptoms.{symptom}: no source {estimate.source!r}')
            if sum(case.weight for case in presentations.rare) >= 1.0:
                raise ValueError(
                    f'conditions."{code}".rare: the weights must leave a share for the standard presentation'
                )


@cache
def symptom_network() -> SymptomNetwork:
    """Return the figures of this package. Raises InvalidFile."""
    return read_network(FILE)


def read_network(path: Path) -> SymptomNetwork:
    """Read the figures from a file. Raises InvalidFile."""
    return read_toml(path, SymptomNetwork)


def _check_keys(place: str, given: Collection[str], wanted: Collection[str]) -> None:
    for reason, names in (("missing", set(wanted) - set(given)), ("unknown", set(given) - set(wanted))):
        if names:
            raise ValueError(f"{place}: {reason}: {', '.join(sorted(names))}")
