"""The symptom lexicon, and the search for its symptoms in a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field

from phaita._read import Strict, read_toml
from phaita.data._negation import SYMPTOM, mark_negated, negation_terms
from phaita.data._words import Term, find_terms, normalized, words_of
from phaita.errors import InvalidFile

__all__ = ["Match", "Symptom", "SymptomId", "find_symptoms", "finder", "lexicon", "read_lexicon"]

FILE = Path(__file__).with_name("symptoms.toml")


@dataclass(frozen=True, slots=True)
class Symptom(Strict):
    """One symptom and its wordings.

    id: its name in code. label: its clinical name, for people.
    phrases: wordings that follow "I am here with"; the first is the plainest one.
    variants: clauses, inflections and spellings that are recognised in texts, but not used for writing.
    """

    id: Annotated[str, Field(pattern=r"^[a-z]+(_[a-z]+)*$")]
    label: Annotated[str, Field(min_length=1)]
    phrases: Annotated[tuple[str, ...], Field(min_length=4, max_length=10)]
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A symptom named in a text, at the characters [start, end); `negated` is True if the text denies it."""

    symptom: str
    start: int
    end: int
    text: str
    negated: bool


@cache
def lexicon() -> Mapping[str, Symptom]:
    """Return every symptom by id, in the file's order. Raises InvalidFile."""
    # Read-only, as all callers share it.
    return MappingProxyType(read_lexicon(FILE))


def read_lexicon(path: Path) -> dict[str, Symptom]:
    """Read a lexicon. Raises InvalidFile, also for a wording of two symptoms."""
    symptoms = read_toml(path, dict[str, Symptom], key_field="id")
    _terms(path, symptoms)
    return symptoms


def find_symptoms(text: str) -> tuple[Match, ...]:
    """Return the symptoms that a text names, in order; of overlapping wordings the longest counts.

    The person is ignored: "pain in her chest" equals "pain in my chest". A symptom is negated by words before it in the
    same clause ("no", "denies", "not having") or directly after it ("is absent").
    """
    return _found(text, _all_terms())


def finder(symptoms: Mapping[str, Symptom]) -> Callable[[str], tuple[Match, ...]]:
    """Return a `find_symptoms` for another lexicon. Raises InvalidFile for a wording of two symptoms."""
    terms = {**negation_terms(), **_terms(FILE, symptoms)}
    return lambda text: _found(text, terms)


def _found(text: str, terms: Mapping[tuple[str, ...], Term]) -> tuple[Match, ...]:
    words = words_of(text)
    matches = []
    for found, negated in mark_negated(words, find_terms(words, terms)):
        start, end = words[found.first].start, words[found.end - 1].end
        matches.append(Match(found.term.symptom, start, end, text[start:end], negated))
    return tuple(matches)


def _check_in_lexicon(symptom: str) -> str:
    if symptom not in lexicon():
        raise ValueError(f"{symptom!r} is not in the lexicon ({FILE.name})")
    return symptom


SymptomId = Annotated[str, AfterValidator(_check_in_lexicon)]


@cache
def _all_terms() -> Mapping[tuple[str, ...], Term]:
    # A symptom that begins with a word of negation ("no energy") wins over it, as the longer term.
    return {**negation_terms(), **_terms(FILE, lexicon())}


def _terms(path: Path, symptoms: Mapping[str, Symptom]) -> dict[tuple[str, ...], Term]:
    terms: dict[tuple[str, ...], Term] = {}
    for symptom in symptoms.values():
        for phrase in symptom.phrases + symptom.variants:
            words = normalized(phrase)
            if not words:
                raise InvalidFile(f"{path}: {symptom.id}: {phrase!r} has no words")
            other = terms.setdefault(words, Term(SYMPTOM, symptom.id))
            if other.symptom != symptom.id:
                raise InvalidFile(f"{path}: {phrase!r} is a wording of both {other.symptom} and {symptom.id}")
    return terms
