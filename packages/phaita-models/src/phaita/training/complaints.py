"""The synthetic complaints that a discriminator learns from, and those that it is measured on.

Symptoms are drawn from the symptom network, whose figures are estimates, and put into words by the template engine. No
text is a patient's: how well a method does on them says how well it reads such texts, and nothing of its use in care.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phaita.data.complaint_templates import sentence_templates
from phaita.data.icd_conditions import Condition, RespiratoryConditions
from phaita.data.symptoms import Symptom, lexicon
from phaita.models._seeds import seeds
from phaita.models.bayesian_network import SEVERITIES
from phaita.models.presentation import PatientPresentation, SymptomGenerator
from phaita.models.templates import TemplateComplaintGenerator
from phaita.utils.config import DataConfig

__all__ = [
    "Complaint",
    "Complaints",
    "Writers",
    "draw_complaints",
    "garbled",
    "learned_lexicon",
    "listed_complaints",
    "poorer_lexicons",
    "writers",
]

# Shares of what is there: of wordings to test, of what is left to stop by, and of the complaints to learn from.
_HELD_OUT = 1 / 3
_VALIDATION = 1 / 4
_TEST = 1 / 2
_KNOWN = (1 / 2, 1 / 2, 1 / 4, 1 / 4)

_SOURCE = """\
**Synthetic** complaints, as many of each condition: symptoms drawn from a network of estimates, put into words by \
templates (seed {seed}). No text is a patient's, so no figure here tells of use in care. What is held out has no \
template and no phrase that was trained on."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A text and the code of the condition that it is about; None for one that is garbled."""

    text: str
    code: str | None

    @property
    def fluent(self) -> bool:
        """Whether its words are as they were written."""
        return self.code is not None


@dataclass(frozen=True, slots=True)
class Complaints:
    """What is trained on, what decides when to stop, and what nothing was learned or chosen by.

    lexicon: the lexicon without every wording that `train` and `validation` could not have used.
    source: where they come from, for a model's card.
    """

    train: tuple[Complaint, ...]
    validation: tuple[Complaint, ...]
    test: tuple[Complaint, ...]
    lexicon: Mapping[str, Symptom]
    source: str


@dataclass(frozen=True, slots=True)
class Writers:
    """Three template engines. The third has no template and no phrase in common with the others.

    The second has no template in common with the first, and no phrase where a symptom has enough of them.
    """

    train: TemplateComplaintGenerator
    validation: TemplateComplaintGenerator
    test: TemplateComplaintGenerator


def draw_complaints(data: DataConfig | None = None, seed: int = 0) -> Complaints:
    """Complaints of every condition: to train on as many as `data` says, a quarter for validation, half to test.

    Ages are among those at which the condition is met most often, severities are drawn evenly, and rare presentations
    occur as the symptom network has them. To each part comes a quarter of garbled texts. Equal arguments give equal
    complaints.
    """
    data = data or DataConfig()
    split = writers(seed)
    sizes = [max(1, round(data.samples_per_condition * share)) for share in (1.0, _VALIDATION, _TEST)]
    own = seeds(seed, 3)
    train, validation, test = (
        _written(writer, size, part)
        for writer, size, part in zip((split.train, split.validation, split.test), sizes, own, strict=True)
    )
    return Complaints(train, validation, test, learned_lexicon(split), _SOURCE.format(seed=seed))


def listed_complaints() -> tuple[Complaint, ...]:
    """The lay terms of the conditions: what callers say, written one by one, by no template and for no training."""
    conditions = RespiratoryConditions.get_all_conditions().items()
    return tuple(Complaint(term, code) for code, condition in conditions for term in condition.lay_terms)


def writers(seed: int = 0) -> Writers:
    """The template engine in three; a third of templates and phrases is held out to test, one phrase at least."""
    known, test = TemplateComplaintGenerator.split(_HELD_OUT, seed)
    rng = random.Random(seed)
    ours = sentence_templates()
    spared: set[str] = set()
    for voice in (ours.patient, ours.caller):
        there = [one for one in known.templates if one in voice]
        spared.update(rng.sample(there, max(1, round(len(there) * _VALIDATION))))
    train, validation = dict(known.phrases), dict(known.phrases)
    for symptom, phrases in known.phrases.items():
        # With two phrases to learn from, to spare one for validation would cost more than it tells.
        if len(phrases) > 2:
            validation[symptom] = (rng.choice(phrases),)
            train[symptom] = tuple(phrase for phrase in phrases if phrase not in validation[symptom])
    return Writers(
        TemplateComplaintGenerator(set(known.templates) - spared, train),
        TemplateComplaintGenerator(spared, validation),
        test,
    )


def learned_lexicon(split: Writers) -> dict[str, Symptom]:
    """The lexicon of who knows the wordings of training and validation, and no other."""
    both = (split.train.phrases, split.validation.phrases)
    return {
        one.id: replace(one, phrases=tuple(dict.fromkeys(word for said in both for word in said[one.id])), variants=())
        for one in lexicon().values()
    }


def poorer_lexicons(seed: int = 0) -> tuple[dict[str, Symptom], ...]:
    """Lexicons that know half or a quarter of the wordings, drawn at random: not every complaint is in known words."""
    rng = random.Random(seed)

    def poorer(one: Symptom, known: float) -> Symptom:
        phrases, variants = (
            tuple(wording for wording in wordings if rng.random() < known) for wordings in (one.phrases, one.variants)
        )
        return replace(one, phrases=phrases, variants=variants)

    return tuple({one.id: poorer(one, known) for one in lexicon().values()} for known in _KNOWN)


def garbled(text: str, rng: random.Random) -> str:
    """The text with its words out of order, or a third of them lost, or a third said twice; never the same text."""
    words = text.split()
    if len(words) < 2:
        return f"{text} {text}"
    way = rng.choice((_shuffled, _thinned, _stuttered))
    while (made := way(words, rng)) == words:
        way = _shuffled if len(set(words)) > 1 else _stuttered
    return " ".join(made)


def _shuffled(words: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(words, len(words))


def _thinned(words: Sequence[str], rng: random.Random) -> list[str]:
    lost = set(rng.sample(range(len(words)), max(1, len(words) // 3)))
    return [word for place, word in enumerate(words) if place not in lost]


def _stuttered(words: Sequence[str], rng: random.Random) -> list[str]:
    twice = set(rng.sample(range(len(words)), max(1, len(words) // 3)))
    return [word for place, word in enumerate(words) for _ in range(1 + (place in twice))]


def _written(writer: TemplateComplaintGenerator, per_condition: int, seed: int) -> tuple[Complaint, ...]:
    rng = random.Random(seed)
    generator = SymptomGenerator()
    presentations = [
        _presentation(generator, condition, rng)
        for condition in RespiratoryConditions.get_all_conditions().values()
        for _ in range(per_condition)
    ]
    texts = writer.generate_complaints(presentations, seed=seed)
    fluent = [Complaint(text, one.condition_code) for text, one in zip(texts, presentations, strict=True)]
    spoilt = rng.sample(texts, max(1, round(len(texts) * _VALIDATION)))
    return (*fluent, *(Complaint(garbled(text, rng), None) for text in spoilt))


def _presentation(generator: SymptomGenerator, condition: Condition, rng: random.Random) -> PatientPresentation:
    years = rng.randint(*rng.choice(condition.age_ranges))
    group = "child" if years < 18 else "adult" if years < 65 else "elderly"
    return generator.generate_symptoms(
        condition.code, age_group=group, severity=rng.choice(SEVERITIES), include_rare=True, rng=rng
    )
