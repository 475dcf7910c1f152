"""Complaints by filling sentence templates with the lexicon's phrases: no model and no download.

Templates and words are those of `data/templates.toml`. This software is not a medical device.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from phaita.data.complaint_templates import Person, filled, listed, sentence_templates
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models._seeds import seeds
from phaita.models.presentation import PatientPresentation

__all__ = ["TemplateComplaintGenerator"]

_YEARS = {"child": range(18), "adult": range(18, 65), "elderly": range(65, 96)}
_INFANT = 2
_TOLD = 6

T = TypeVar("T")


class TemplateComplaintGenerator:
    """Writes complaints in a patient's words, or in those of somebody who speaks for a child or an old person.

    templates: ids to choose from (all), of the patient's and of a caller's. phrases: by symptom, those of the lexicon
    to choose from; a symptom that is not named keeps the ones that patients say. `split` makes two generators that
    have nothing of these in common.

    A complaint depends on its presentation, the seed and its place in the list, and on nothing else. At most six
    symptoms are told, in random order. Age and speaker follow the ages at which the condition is met, as far as the
    age group leaves that open, so that they hint at the condition as they do in life.

    Raises ValueError for an id or a phrase that there is not, and where a voice has no template.
    """

    kind = "template"

    def __init__(
        self, templates: Iterable[str] | None = None, phrases: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        ours = sentence_templates()
        chosen = set(ours.ids if templates is None else templates)
        if unknown := chosen - set(ours.ids):
            raise ValueError(f"no template {', '.join(sorted(unknown))}; there are {', '.join(ours.ids)}")
        self.templates = tuple(one for one in ours.ids if one in chosen)
        self.phrases = {**ours.said, **_in_lexicon(phrases or {})}
        self._voices = [[text for one, text in voice.items() if one in chosen] for voice in (ours.patient, ours.caller)]
        if not all(self._voices):
            raise ValueError("templates holds at least one of the patient's and one of a caller's")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.templates)} templates)"

    @classmethod
    def split(
        cls, held_out: float = 1 / 3, seed: int = 0
    ) -> tuple[TemplateComplaintGenerator, TemplateComplaintGenerator]:
        """Two generators without a template or a phrase in common: one to train on, one with what is held out.

        held_out: the second one's part of each voice's templates and of each symptom's phrases, one at least.
        """
        rng = random.Random(seed)
        ours = sentence_templates()
        voices = [_parted(list(voice), held_out, rng) for voice in (ours.patient, ours.caller)]
        said = {symptom: _parted(phrases, held_out, rng) for symptom, phrases in ours.said.items()}
        first, second = (
            cls([*voices[0][side], *voices[1][side]], {symptom: parts[side] for symptom, parts in said.items()})
            for side in (0, 1)
        )
        return first, second

    def generate_complaint(self, presentation: PatientPresentation, *, seed: int | None = None) -> str:
        """One complaint: the first that `generate_complaints` gives for this seed."""
        return self.generate_complaints([presentation], seed=seed)[0]

    def generate_complaints(
        self, presentations: Sequence[PatientPresentation], *, seed: int | None = None
    ) -> list[str]:
        """A complaint for each presentation, in their order; seed None draws anew each time."""
        own = seeds(seed, len(presentations))
        return [self._written(one, random.Random(each)) for one, each in zip(presentations, own, strict=True)]

    def _written(self, presentation: PatientPresentation, rng: random.Random) -> str:
        years = _years(presentation, rng)
        person = _spoken_of(presentation, years, rng)
        told = rng.sample(presentation.symptoms, min(len(presentation.symptoms), _TOLD))
        phrases = [self._said(symptom, person, rng) for symptom in told]
        first = rng.randint(max(1, len(phrases) - _TOLD // 2), min(len(phrases), _TOLD // 2))
        slots = {
            "main": listed(phrases[:first]),
            "also": listed(phrases[first:]),
            "severity": _severity(presentation, rng),
            "when": rng.choice(sentence_templates().when),
            "age": "" if years is None else _in_words(years, rng),
            "who": person.who if person else "",
            "he": person.he if person else "",
        }
        return filled(rng.choice(self._voices[person is not None]), slots)

    def _said(self, symptom: str, person: Person | None, rng: random.Random) -> str:
        phrase = rng.choice(self.phrases[symptom])
        return phrase if person is None else person.said_of(phrase)


def _in_lexicon(phrases: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    for symptom, chosen in phrases.items():
        if symptom not in lexicon():
            raise ValueError(f"phrases: no symptom {symptom!r} in the lexicon")
        if not chosen or set(chosen) - set(lexicon()[symptom].phrases):
            raise ValueError(f"phrases: {symptom} has {lexicon()[symptom].phrases}, of which one at least is chosen")
    return {symptom: tuple(chosen) for symptom, chosen in phrases.items()}


def _parted(items: Sequence[T], held_out: float, rng: random.Random) -> tuple[list[T], list[T]]:
    many = min(len(items) - 1, max(1, round(len(items) * held_out)))
    mixed = rng.sample(items, len(items))
    return mixed[many:], mixed[:many]


def _years(presentation: PatientPresentation, rng: random.Random) -> int | None:
    """An age of the group, where the condition is most often met if the two have one in common."""
    if presentation.age_group is None:
        return None
    ranges = RespiratoryConditions.get_condition_by_code(presentation.condition_code).age_ranges
    group = _YEARS[presentation.age_group]
    likely = [year for year in group if any(one.youngest <= year <= one.oldest for one in ranges)]
    return rng.choice(likely or group)


def _spoken_of(presentation: PatientPresentation, years: int | None, rng: random.Random) -> Person | None:
    """The patient as somebody else speaks of them; None where they speak for themselves."""
    people = sentence_templates().people
    ranges = RespiratoryConditions.get_condition_by_code(presentation.condition_code).age_ranges
    oldest = max(one.oldest for one in ranges) if years is None else years
    if oldest <= _INFANT:
        return rng.choice(people["infant"])
    if presentation.age_group == "elderly" and rng.random() < 0.5:
        return rng.choice(people["elderly"])
    return rng.choice(people["child"]) if presentation.age_group == "child" else None


def _severity(presentation: PatientPresentation, rng: random.Random) -> str:
    return rng.choice(sentence_templates().severity[presentation.severity]) if presentation.severity else ""


def _in_words(years: int, rng: random.Random) -> str:
    return f"{years} years old" if years >= _INFANT else f"{years * 12 + rng.randrange(2, 12)} months old"
