"""Sentence templates, the words that fill them beside the symptoms, and the filling itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from phaita._read import Strict, read_toml
from phaita.data.symptom_network import SEVERITIES
from phaita.data.symptoms import lexicon

__all__ = ["Person", "Templates", "filled", "listed", "read_templates", "sentence_templates"]

FILE = Path(__file__).with_name("templates.toml")

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w*)\}")
_SLOTS = frozenset({"main", "also", "severity", "when", "age"})
_PEOPLE = ("infant", "child", "elderly")
_SENTENCE_START = re.compile(r"(?:^|[.!?] )[a-z]")

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Person(Strict):
    """The words with which a caller speaks of the patient: "my son", "he", "his", "him"."""

    who: Text
    he: Text
    his: Text
    him: Text

    def said_of(self, phrase: str) -> str:
        """Return a phrase in the words of a caller: "when I breathe" becomes "when he breathes"."""
        # "I am" first: the next rule would make "ams" of it.
        phrase = re.sub(r"\bI am\b", f"{self.he} is", phrase)
        phrase = re.sub(r"\bI (\w+)", rf"{self.he} \1s", phrase)
        return re.sub(r"\bmy\b", self.his, re.sub(r"\bme\b", self.him, phrase))


@dataclass(frozen=True, slots=True)
class Templates(Strict):
    """The contents of the templates' file. Raises ValueError for an invalid template or an unknown phrase.

    when: moments. not_said: the lexicon's phrases that patients don't use. severity: sentences by severity.
    people: the words for the patient of a caller, by "infant", "child" and "elderly".
    patient, caller: templates by id, for a patient and for a caller.
    """

    when: Texts
    not_said: tuple[Text, ...]
    severity: dict[str, Texts]
    people: dict[str, Annotated[tuple[Person, ...], Field(min_length=1)]]
    patient: Annotated[dict[str, Text], Field(min_length=2)]
    caller: Annotated[dict[str, Text], Field(min_length=2)]

    def __post_init__(self) -> None:
        _check_keys("severity", self.severity, SEVERITIES)
        _check_keys("people", self.people, _PEOPLE)
        if unknown := set(self.not_said) - {phrase for one in lexicon().values() for phrase in one.phrases}:
            raise ValueError(f"not_said: not phrases of the lexicon: {', '.join(sorted(unknown))}")
        if few := [symptom for symptom, said in self.said.items() if len(said) < 2]:
            raise ValueError(f"not_said: must leave two or more phrases of {', '.join(few)}")
        if twice := set(self.patient) & set(self.caller):
            raise ValueError(f"caller: ids that `patient` has too: {', '.join(sorted(twice))}")
        for id_, text in self.patient.items():
            _check_template(f"patient.{id_}", text, _SLOTS)
        for id_, text in self.caller.items():
            _check_template(f"caller.{id_}", text, {*_SLOTS, "who", "he"})
            if "{who}" not in _OPTIONAL.sub("", text):
                raise ValueError(f"caller.{id_}: must have {{who}} outside of brackets")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all templates, in the file's order."""
        return (*self.patient, *self.caller)

    @property
    def said(self) -> dict[str, tuple[str, ...]]:
        """The lexicon's phrases that patients use, by symptom: two or more each."""
        hidden = set(self.not_said)
        return {one.id: tuple(phrase for phrase in one.phrases if phrase not in hidden) for one in lexicon().values()}


@cache
def sentence_templates() -> Templates:
    """Return the templates of this package. Raises InvalidFile."""
    return read_templates(FILE)


def read_templates(path: Path) -> Templates:
    """Read the templates from a file. Raises InvalidFile."""
    return read_toml(path, Templates)


def filled(template: str, slots: Mapping[str, str]) -> str:
    """Fill a template: drop brackets with an empty slot, and capitalise each sentence."""

    def fill_optional(optional: re.Match[str]) -> str:
        return optional[1] if all(slots[slot] for slot in _SLOT.findall(optional[1])) else ""

    text = _OPTIONAL.sub(fill_optional, template).format_map(slots)
    return _SENTENCE_START.sub(lambda start: start[0].upper(), text)


def listed(phrases: Sequence[str]) -> str:
    """Join phrases by commas and "and"; with a comma before "and" if a phrase contains an "and" or a comma."""
    if len(phrases) < 2:
        return "".join(phrases)
    nested = any(" and " in phrase or "," in phrase for phrase in phrases)
    return f"{', '.join(phrases[:-1])}{',' if nested else ''} and {phrases[-1]}"


def _check_template(place: str, text: str, known: Collection[str]) -> None:
    slots, needed = _SLOT.findall(text), _SLOT.findall(_OPTIONAL.sub("", text))
    if unknown := [slot for slot in slots if slot not in known]:
        raise ValueError(f"{place}: unknown slot: {', '.join(unknown)}")
    # A complaint always has a main symptom, and may have no others.
    if slots.count("main") != 1 or "main" not in needed or slots.count("also") != 1 or "also" in needed:
        raise ValueError(f"{place}: must have {{main}} once, outside of brackets, and {{also}} once, inside")
    if {"severity", "age"} & set(needed):
        raise ValueError(f"{place}: {{severity}} and {{age}} may be empty, so they must be in brackets")
    if re.search(r"[{}\[\]]", _SLOT.sub("", _OPTIONAL.sub(r"\1", text))):
        raise ValueError(f"{place}: a bracket or a brace is nested or not closed")


def _check_keys(place: str, given: Collection[str], wanted: Collection[str]) -> None:
    if set(given) != set(wanted):
        raise ValueError(f"{place}: has {', '.join(given)}; it must have {', '.join(wanted)}")
