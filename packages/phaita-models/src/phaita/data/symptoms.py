"""The symptom lexicon, and the symptoms that a text names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field

from phaita._read import Strict, read_toml
from phaita.data._negation import SYMPTOM, judged, negation_terms
from phaita.data._words import Term, find_terms, normalized, words_of
from phaita.errors import InvalidFile

__all__ = ["Match", "Symptom", "SymptomId", "find_symptoms", "finder", "lexicon", "read_lexicon"]

FILE = Path(__file__).with_name("symptoms.toml")


@dataclass(frozen=True, slots=True)
class Symptom(Strict):
    """One symptom and the ways to say it.

    id: its name in code. label: its clinical name, for people.
    phrases: fit behind "I am here with"; the first is the plainest lay one.
    variants: clauses, inflections and spellings that are recognised and never written.
    """

    id: Annotated[str, Field(pattern=r"^[a-z]+(_[a-z]+)*$")]
    label: Annotated[str, Field(min_length=1)]
    phrases: Annotated[tuple[str, ...], Field(min_length=4, max_length=10)]
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A symptom named in a text, at the characters [start, end); `negated` where the text denies it."""

    symptom: str
    start: int
    end: int
    text: str
    negated: bool


@cache
def lexicon() -> Mapping[str, Symptom]:
    """Every symptom by id, in the file's order. Raises InvalidFile."""
    return MappingProxyType(read_lexicon(FILE))


def read_lexicon(path: Path) -> dict[str, Symptom]:
    """A lexicon's file; no wording may mean two symptoms. Raises InvalidFile."""
    symptoms = read_toml(path, dict[str, Symptom], named="id")
    _terms(path, symptoms)
    return symptoms


def find_symptoms(text: str) -> tuple[Match, ...]:
    """The symptoms that a text names, in its order; of overlapping wordings the longest counts.

    Who has it makes no difference: "pain in her chest" is "pain in my chest". What the text denies is marked, by
    words before it in the same clause ("no", "denies", "not having") or right behind it ("is absent").
    """
    return _found(text, _all_terms())


def finder(symptoms: Mapping[str, Symptom]) -> Callable[[str], tuple[Match, ...]]:
    """`find_symptoms` by another lexicon. Raises InvalidFile where a wording of it means two symptoms."""
    terms = {**negation_terms(), **_terms(FILE, symptoms)}
    return lambda text: _found(text, terms)


def _found(text: str, terms: Mapping[tuple[str, ...], Term]) -> tuple[Match, ...]:
    words = words_of(text)
    matches = []
    for found, negated in judged(words, find_terms(words, terms)):
        start, end = words[found.first].start, words[found.end - 1].end
        matches.append(Match(found.term.symptom, start, end, text[start:end], negated))
    return tuple(matches)


def _known(symptom: str) -> str:
    if symptom not in lexicon():
        raise ValueError(f"{symptom!r} is not in the lexicon ({FILE.name})")
    return symptom


SymptomId = Annotated[str, AfterValidator(_known)]


@cache
def _all_terms() -> Mapping[tuple[str, ...], Term]:
    # A symptom that begins with a word of negation ("no energy") is longer than that word, so it wins.
    return {**negation_terms(), **_terms(FILE, lexicon())}


def _terms(path: Path, symptoms: Mapping[str, Symptom]) -> dict[tuple[str, ...], Term]:
    terms: dict[tuple[str, ...], Term] = {}
    for symptom in symptoms.values():
        for phrase in symptom.phrases + symptom.variants:
            words = normalized(phrase)
            if not words:
                raise InvalidFile(f"{path}: {symptom.id}: {phrase!r} has no word")
            other = terms.setdefault(words, Term(SYMPTOM, symptom.id))
            if other.symptom != symptom.id:
                raise InvalidFile(f"{path}: {phrase!r} stands for both {other.symptom} and {symptom.id}")
    return terms
