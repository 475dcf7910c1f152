"""Synthetic complaints for training and for measuring the discriminator.

Symptoms are drawn from the symptom network, whose figures are estimates, and put into words by the template engine. No
text is a patient's: accuracy on them says how well a method reads such texts, and nothing about its use in care.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phaita.data.complaint_templates import sentence_templates
from phaita.data.icd_conditions import Condition, RespiratoryConditions
from phaita.data.symptoms import Symptom, lexicon
from phaita.models._seeds import item_seeds
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

# Fractions: of the templates and phrases, for testing; of the rest, for validation; of the training size, for testing;
# and of the wordings that each poorer lexicon keeps.
_HELD_OUT = 1 / 3
_VALIDATION = 1 / 4
_TEST = 1 / 2
_KEPT = (1 / 2, 1 / 2, 1 / 4, 1 / 4)

_SOURCE = """\
**Synthetic** complaints, equally many per condition: symptoms drawn from a network of estimates, put into words by \
templates (seed {seed}). No text is a patient's, so no figure here says anything about use in care. The held-out texts \
share no template and no phrase with the training texts."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A text and the code of its condition; the code of a garbled text is None."""

    text: str
    code: str | None

    @property
    def fluent(self) -> bool:
        """True if the text is not garbled."""
        return self.code is not None


@dataclass(frozen=True, slots=True)
class Complaints:
    """The complaints for training, for early stopping, and for testing alone.

    lexicon: the lexicon reduced to the wordings that `train` and `validation` can contain.
    source: a description of their origin, for the model card.
    """

    train: tuple[Complaint, ...]
    validation: tuple[Complaint, ...]
    test: tuple[Complaint, ...]
    lexicon: Mapping[str, Symptom]
    source: str


@dataclass(frozen=True, slots=True)
class Writers:
    """Three template engines. `test` shares no template and no phrase with the other two.

    `validation` shares no template with `train`, and no phrase of a symptom that has more than two left.
    """

    train: TemplateComplaintGenerator
    validation: TemplateComplaintGenerator
    test: TemplateComplaintGenerator


def draw_complaints(data: DataConfig | None = None, seed: int = 0) -> Complaints:
    """Draw complaints of every condition: for training as many as `data` says, for validation 1/4, for testing 1/2.

    Ages are drawn from the ranges in which the condition is most common, severities evenly, and rare presentations at
    the rates of the symptom network. Each part also gets a quarter as many garbled texts. Equal arguments give equal
    complaints.
    """
    data = data or DataConfig()
    split = writers(seed)
    sizes = [max(1, round(data.samples_per_condition * share)) for share in (1.0, _VALIDATION, _TEST)]
    own = item_seeds(seed, 3)
    train, validation, test = (
        _write(writer, size, part)
        for writer, size, part in zip((split.train, split.validation, split.test), sizes, own, strict=True)
    )
    return Complaints(train, validation, test, learned_lexicon(split), _SOURCE.format(seed=seed))


def listed_complaints() -> tuple[Complaint, ...]:
    """Return the lay terms of the conditions, which are written by hand and used for no training."""
    conditions = RespiratoryConditions.get_all_conditions().items()
    return tuple(Complaint(term, code) for code, condition in conditions for term in condition.lay_terms)


def writers(seed: int = 0) -> Writers:
    """Split the template engine in three; a third of templates and phrases (at least one) is held out for testing."""
    known, test = TemplateComplaintGenerator.split(_HELD_OUT, seed)
    rng = random.Random(seed)
    templates = sentence_templates()
    for_validation: set[str] = set()
    for voice in (templates.patient, templates.caller):
        ids = [one for one in known.templates if one in voice]
        for_validation.update(rng.sample(ids, max(1, round(len(ids) * _VALIDATION))))
    train, validation = dict(known.phrases), dict(known.phrases)
    for symptom, phrases in known.phrases.items():
        # Of two phrases, taking one away from training would cost more than validation gains.
        if len(phrases) > 2:
            validation[symptom] = (rng.choice(phrases),)
            train[symptom] = tuple(phrase for phrase in phrases if phrase not in validation[symptom])
    return Writers(
        TemplateComplaintGenerator(set(known.templates) - for_validation, train),
        TemplateComplaintGenerator(for_validation, validation),
        test,
    )


def learned_lexicon(split: Writers) -> dict[str, Symptom]:
    """Return the lexicon reduced to the phrases of training and validation."""
    both = (split.train.phrases, split.validation.phrases)
    return {
        one.id: replace(one, phrases=tuple(dict.fromkeys(word for said in both for word in said[one.id])), variants=())
        for one in lexicon().values()
    }


def poorer_lexicons(seed: int = 0) -> tuple[dict[str, Symptom], ...]:
    """Return lexicons with a random half or quarter of the wordings, as real complaints use unknown words too."""
    rng = random.Random(seed)

    def poorer(one: Symptom, kept: float) -> Symptom:
        phrases, variants = (
            tuple(wording for wording in wordings if rng.random() < kept) for wordings in (one.phrases, one.variants)
        )
        return replace(one, phrases=phrases, variants=variants)

    return tuple({one.id: poorer(one, kept) for one in lexicon().values()} for kept in _KEPT)


def garbled(text: str, rng: random.Random) -> str:
    """Return the text with its words shuffled, a third of them lost, or a third repeated; never the same text."""
    words = text.split()
    if len(words) < 2:
        return f"{text} {text}"
    garble = rng.choice((_shuffle, _drop, _repeat))
    while (changed := garble(words, rng)) == words:
        # Equal words stay the same in any order.
        garble = _shuffle if len(set(words)) > 1 else _repeat
    return " ".join(changed)


def _shuffle(words: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(words, len(words))


def _drop(words: Sequence[str], rng: random.Random) -> list[str]:
    lost = set(rng.sample(range(len(words)), max(1, len(words) // 3)))
    return [word for place, word in enumerate(words) if place not in lost]


def _repeat(words: Sequence[str], rng: random.Random) -> list[str]:
    twice = set(rng.sample(range(len(words)), max(1, len(words) // 3)))
    return [word for place, word in enumerate(words) for _ in range(1 + (place in twice))]


def _write(writer: TemplateComplaintGenerator, per_condition: int, seed: int) -> tuple[Complaint, ...]:
    rng = random.Random(seed)
    generator = SymptomGenerator()
    presentations = [
        _presentation(generator, condition, rng)
        for condition in RespiratoryConditions.get_all_conditions().values()
        for _ in range(per_condition)
    ]
    texts = writer.generate_complaints(presentations, seed=seed)
    fluent = [Complaint(text, one.condition_code) for text, one in zip(texts, presentations, strict=True)]
    garble = rng.sample(texts, max(1, round(len(texts) * _VALIDATION)))
    return (*fluent, *(Complaint(garbled(text, rng), None) for text in garble))


def _presentation(generator: SymptomGenerator, condition: Condition, rng: random.Random) -> PatientPresentation:
    years = rng.randint(*rng.choice(condition.age_ranges))
    group = "child" if years < 18 else "adult" if years < 65 else "elderly"
    return generator.generate_symptoms(
        condition.code, age_group=group, severity=rng.choice(SEVERITIES), include_rare=True, rng=rng
    )
