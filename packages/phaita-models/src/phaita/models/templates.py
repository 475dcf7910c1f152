"""Write complaints by filling sentence templates with the lexicon's phrases: no model and no download.

Templates and words are in `data/templates.toml`. This software is not a medical device.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from phaita.data.complaint_templates import Person, filled, listed, sentence_templates
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models._seeds import item_seeds
from phaita.models.presentation import PatientPresentation

__all__ = ["TemplateComplaintGenerator"]

_AGES = {"child": range(18), "adult": range(18, 65), "elderly": range(65, 96)}
_INFANT = 2  # years: up to it a caller speaks, below it an age is given in months
_MAX_SYMPTOMS = 6

T = TypeVar("T")


class TemplateComplaintGenerator:
    """Writes complaints in the words of a patient, or of a caller who speaks for a child or an old person.

    templates: ids to choose from, by default all; at least one of the patient's and one of a caller's. phrases: by
    symptom, the lexicon's phrases to choose from, by default those that patients say. `split` makes two generators that
    share none of these.

    A complaint depends only on its presentation, the seed and its index in the list. It names at most six symptoms, in
    random order. Within the age group, age and speaker follow the ages at which the condition is common, so that they
    hint at the condition as in real calls.

    Raises ValueError for an unknown id or phrase, and if the patient or the caller has no template.
    """

    kind = "template"

    def __init__(
        self, templates: Iterable[str] | None = None, phrases: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        source = sentence_templates()
        chosen = set(source.ids if templates is None else templates)
        if unknown := chosen - set(source.ids):
            raise ValueError(f"no template {', '.join(sorted(unknown))}; known are {', '.join(source.ids)}")
        self.templates = tuple(one for one in source.ids if one in chosen)
        self.phrases = {**source.said, **_check_phrases(phrases or {})}
        self._voices = [
            [text for one, text in voice.items() if one in chosen] for voice in (source.patient, source.caller)
        ]
        if not all(self._voices):
            raise ValueError("templates must hold at least one of the patient's and one of a caller's")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.templates)} templates)"

    @classmethod
    def split(
        cls, held_out: float = 1 / 3, seed: int = 0
    ) -> tuple[TemplateComplaintGenerator, TemplateComplaintGenerator]:
        """Return two generators that share no template and no phrase: one for training, one with the held-out part.

        held_out: the second one's share of each voice's templates and of each symptom's phrases, at least one.
        """
        rng = random.Random(seed)
        source = sentence_templates()
        voices = [_split(list(voice), held_out, rng) for voice in (source.patient, source.caller)]
        phrases = {symptom: _split(said, held_out, rng) for symptom, said in source.said.items()}
        first, second = (
            cls([*voices[0][side], *voices[1][side]], {symptom: parts[side] for symptom, parts in phrases.items()})
            for side in (0, 1)
        )
        return first, second

    def generate_complaint(self, presentation: PatientPresentation, *, seed: int | None = None) -> str:
        """Return the first complaint that `generate_complaints` returns for this seed."""
        return self.generate_complaints([presentation], seed=seed)[0]

    def generate_complaints(
        self, presentations: Sequence[PatientPresentation], *, seed: int | None = None
    ) -> list[str]:
        """Return a complaint for each presentation, in their order; with seed None they are new each time."""
        own = item_seeds(seed, len(presentations))
        return [self._write(one, random.Random(each)) for one, each in zip(presentations, own, strict=True)]

    def _write(self, presentation: PatientPresentation, rng: random.Random) -> str:
        years = _draw_age(presentation, rng)
        person = _draw_person(presentation, years, rng)
        named = rng.sample(presentation.symptoms, min(len(presentation.symptoms), _MAX_SYMPTOMS))
        phrases = [self._phrase(symptom, person, rng) for symptom in named]
        # Neither list gets more than half of the maximum: longer lists do not read like speech.
        first = rng.randint(max(1, len(phrases) - _MAX_SYMPTOMS // 2), min(len(phrases), _MAX_SYMPTOMS // 2))
        slots = {
            "main": listed(phrases[:first]),
            "also": listed(phrases[first:]),
            "severity": _severity(presentation, rng),
            "when": rng.choice(sentence_templates().when),
            "age": "" if years is None else _age_in_words(years, rng),
            "who": person.who if person else "",
            "he": person.he if person else "",
        }
        return filled(rng.choice(self._voices[person is not None]), slots)

    def _phrase(self, symptom: str, person: Person | None, rng: random.Random) -> str:
        phrase = rng.choice(self.phrases[symptom])
        return phrase if person is None else person.said_of(phrase)


def _check_phrases(phrases: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    for symptom, chosen in phrases.items():
        if symptom not in lexicon():
            raise ValueError(f"phrases: no symptom {symptom!r} in the lexicon")
        if not chosen or set(chosen) - set(lexicon()[symptom].phrases):
            raise ValueError(f"phrases: {symptom} needs one or more of {lexicon()[symptom].phrases}")
    return {symptom: tuple(chosen) for symptom, chosen in phrases.items()}


def _split(items: Sequence[T], held_out: float, rng: random.Random) -> tuple[list[T], list[T]]:
    count = min(len(items) - 1, max(1, round(len(items) * held_out)))  # each part gets one at least
    shuffled = rng.sample(items, len(items))
    return shuffled[count:], shuffled[:count]


def _draw_age(presentation: PatientPresentation, rng: random.Random) -> int | None:
    """Draw an age of the group, if possible one at which the condition is common; None without a group."""
    if presentation.age_group is None:
        return None
    ranges = RespiratoryConditions.get_condition_by_code(presentation.condition_code).age_ranges
    group = _AGES[presentation.age_group]
    likely = [year for year in group if any(one.youngest <= year <= one.oldest for one in ranges)]
    return rng.choice(likely or group)


def _draw_person(presentation: PatientPresentation, years: int | None, rng: random.Random) -> Person | None:
    """Draw the words with which a caller speaks of the patient; None if the patient speaks."""
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


def _age_in_words(years: int, rng: random.Random) -> str:
    return f"{years} years old" if years >= _INFANT else f"{years * 12 + rng.randrange(2, 12)} months old"
