"""The ten respiratory conditions, by ICD-10 code."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from phaita._read import Strict, read_toml
from phaita.data.symptoms import SymptomId
from phaita.errors import InvalidFile, UnknownCode

__all__ = ["AgeRange", "Condition", "RespiratoryConditions", "read_conditions"]

FILE = Path(__file__).with_name("conditions.toml")

Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class AgeRange(NamedTuple):
    """A range of ages in years, both ends included."""

    youngest: Annotated[int, Field(ge=0)]
    oldest: Annotated[int, Field(le=130)]


@dataclass(frozen=True, slots=True)
class Condition(Strict):
    """A condition; `condition["symptoms"]` is the same as `condition.symptoms`.

    symptoms: ids of the lexicon, the most characteristic first.
    severity_indicators: findings that call for urgent care in this condition.
    lay_terms: the words of patients and callers.
    age_ranges: the ages at which it is most common; other ages are possible.
    """

    code: Annotated[str, Field(pattern=r"^[A-Z]\d\d(\.\d+)?$")]
    name: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]
    symptoms: Annotated[tuple[SymptomId, ...], Field(min_length=1)]
    severity_indicators: Texts
    lay_terms: Texts
    age_ranges: Annotated[tuple[AgeRange, ...], Field(min_length=1)]
    risk_factors: Texts

    def __getitem__(self, field: str) -> Any:
        if field not in self.__dataclass_fields__:
            raise KeyError(field)
        return getattr(self, field)


class RespiratoryConditions:
    """The ten conditions; their file is read once. Each method raises InvalidFile if the file is invalid."""

    @classmethod
    def get_all_conditions(cls) -> dict[str, Condition]:
        """Return every condition by code, in the file's order, which is the label order of the discriminator."""
        return dict(_conditions())

    @classmethod
    def get_condition_by_code(cls, code: str) -> Condition:
        """Return one condition. Raises UnknownCode, a KeyError and ValueError that lists the codes."""
        if code not in _conditions():
            raise UnknownCode(code, _conditions())
        return _conditions()[code]

    @classmethod
    def get_symptoms_for_condition(cls, code: str) -> list[str]:
        """Return the ids of the condition's symptoms, the most characteristic first. Raises UnknownCode."""
        return list(cls.get_condition_by_code(code).symptoms)

    @classmethod
    def get_lay_terms_for_condition(cls, code: str) -> list[str]:
        """Return the condition's lay terms. Raises UnknownCode."""
        return list(cls.get_condition_by_code(code).lay_terms)

    @classmethod
    def get_random_condition(cls, rng: random.Random | None = None) -> tuple[str, Condition]:
        """Draw a condition and its code, each equally likely; without `rng`, from the global generator."""
        choose = random.choice if rng is None else rng.choice
        return choose(list(_conditions().items()))


def read_conditions(path: Path) -> dict[str, Condition]:
    """Read conditions from a file. Raises InvalidFile, also for a symptom that is not in the lexicon."""
    conditions = read_toml(path, dict[str, Condition], key_field="code")
    for condition in conditions.values():
        if len(set(condition.symptoms)) < len(condition.symptoms):
            raise InvalidFile(f'{path}: "{condition.code}".symptoms: one is there twice')
        if any(one.youngest > one.oldest for one in condition.age_ranges):
            raise InvalidFile(f'{path}: "{condition.code}".age_ranges: the youngest age must come first')
    return conditions


@cache
def _conditions() -> Mapping[str, Condition]:
    return MappingProxyType(read_conditions(FILE))
