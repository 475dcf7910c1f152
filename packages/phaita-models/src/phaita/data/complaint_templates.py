"""Sentence templates, the words that fill them beside the symptoms, and how one is filled."""

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
    """The patient in another's mouth: "my son", "he", "his", "him"."""

    who: Text
    he: Text
    his: Text
    him: Text

    def said_of(self, phrase: str) -> str:
        """A phrase as another says it: "when I breathe" becomes "when he breathes"."""
        phrase = re.sub(r"\bI am\b", f"{self.he} is", phrase)
        phrase = re.sub(r"\bI (\w+)", rf"{self.he} \1s", phrase)
        return re.sub(r"\bmy\b", self.his, re.sub(r"\bme\b", self.him, phrase))


@dataclass(frozen=True, slots=True)
class Templates(Strict):
    """The file. Raises ValueError for a template that can't be filled, and where the lexicon has other phrases.

    when: moments. not_said: the lexicon's phrases that patients don't use. severity: sentences by severity.
    people: whom a caller speaks of, by "infant", "child" and "elderly".
    patient, caller: templates by id, in whose mouth they belong.
    """

    when: Texts
    not_said: tuple[Text, ...]
    severity: dict[str, Texts]
    people: dict[str, Annotated[tuple[Person, ...], Field(min_length=1)]]
    patient: Annotated[dict[str, Text], Field(min_length=2)]
    caller: Annotated[dict[str, Text], Field(min_length=2)]

    def __post_init__(self) -> None:
        _same("severity", self.severity, SEVERITIES)
        _same("people", self.people, _PEOPLE)
        if strange := set(self.not_said) - {phrase for one in lexicon().values() for phrase in one.phrases}:
            raise ValueError(f"not_said: no phrase of the lexicon: {', '.join(sorted(strange))}")
        if few := [symptom for symptom, said in self.said.items() if len(said) < 2]:
            raise ValueError(f"not_said: leaves fewer than two phrases of {', '.join(few)}")
        if twice := set(self.patient) & set(self.caller):
            raise ValueError(f"caller: the patient has {', '.join(sorted(twice))} too")
        for id_, text in self.patient.items():
            _check(f"patient.{id_}", text, _SLOTS)
        for id_, text in self.caller.items():
            _check(f"caller.{id_}", text, {*_SLOTS, "who", "he"})
            if "{who}" not in _OPTIONAL.sub("", text):
                raise ValueError(f"caller.{id_}: does not say, outside of brackets, {{who}} it is about")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all templates, in the file's order."""
        return (*self.patient, *self.caller)

    @property
    def said(self) -> dict[str, tuple[str, ...]]:
        """By symptom, the lexicon's phrases that patients use: two at least."""
        hidden = set(self.not_said)
        return {one.id: tuple(phrase for phrase in one.phrases if phrase not in hidden) for one in lexicon().values()}


@cache
def sentence_templates() -> Templates:
    """The templates of this package. Raises InvalidFile."""
    return read_templates(FILE)


def read_templates(path: Path) -> Templates:
    """The templates of a file of that form. Raises InvalidFile."""
    return read_toml(path, Templates)


def filled(template: str, slots: Mapping[str, str]) -> str:
    """The template's text; brackets with an empty slot go, and each sentence begins with a capital letter."""

    def kept(optional: re.Match[str]) -> str:
        return optional[1] if all(slots[slot] for slot in _SLOT.findall(optional[1])) else ""

    text = _OPTIONAL.sub(kept, template).format_map(slots)
    return _SENTENCE_START.sub(lambda start: start[0].upper(), text)


def listed(phrases: Sequence[str]) -> str:
    """All in one phrase, with a comma before the last "and" where a phrase has an "and" or a comma of its own."""
    if len(phrases) < 2:
        return "".join(phrases)
    nested = any(" and " in phrase or "," in phrase for phrase in phrases)
    return f"{', '.join(phrases[:-1])}{',' if nested else ''} and {phrases[-1]}"


def _check(place: str, text: str, known: Collection[str]) -> None:
    slots, needed = _SLOT.findall(text), _SLOT.findall(_OPTIONAL.sub("", text))
    if strange := [slot for slot in slots if slot not in known]:
        raise ValueError(f"{place}: no such slot: {', '.join(strange)}")
    if slots.count("main") != 1 or "main" not in needed or slots.count("also") != 1 or "also" in needed:
        raise ValueError(f"{place}: holds {{main}} once, outside of brackets, and {{also}} once, inside")
    if {"severity", "age"} & set(needed):
        raise ValueError(f"{place}: {{severity}} and {{age}} are not always there, so they stand in brackets")
    if re.search(r"[{}\[\]]", _SLOT.sub("", _OPTIONAL.sub(r"\1", text))):
        raise ValueError(f"{place}: a bracket or a brace is not closed, or nested")


def _same(place: str, given: Collection[str], wanted: Collection[str]) -> None:
    if set(given) != set(wanted):
        raise ValueError(f"{place}: has {', '.join(given)}; it needs {', '.join(wanted)}")
