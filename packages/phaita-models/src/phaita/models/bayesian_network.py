"""A network of two layers: a condition and its modifiers above, symptoms below.

Given the condition and the modifiers, symptoms are independent of each other. The probability of a symptom is

    odds(p) = odds(estimate) * the factors of age group, severity and comorbidities
    q       = 1 - (1 - p) * the product of (1 - cause) over the comorbidities

so a comorbidity changes the odds of the condition's symptoms and adds symptoms of its own: a noisy-OR, as in QMR-DT
(M. A. Shwe et al., Methods Inf Med 30 (1991) 241-255). Every patient has a symptom: samples and probabilities are
conditional on at least one, q / (1 - the product of (1 - q) over all symptoms).

The figures are estimates by the authors for making texts, not measurements, and not for care.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from phaita.data.symptom_network import (
    AGE_GROUPS,
    COMORBIDITIES,
    SEVERITIES,
    Presentations,
    RareCase,
    SymptomNetwork,
    symptom_network,
)
from phaita.data.symptoms import lexicon
from phaita.errors import UnknownCode

__all__ = ["AGE_GROUPS", "COMORBIDITIES", "SEVERITIES", "BayesianSymptomNetwork"]


_KEPT_MAX = 1000  # combinations of arguments


class BayesianSymptomNetwork:
    """Samples presentations of a condition, and computes their probabilities.

    Arguments of its methods: `code` by ICD-10; `age_group` one of `AGE_GROUPS` and `severity` one of `SEVERITIES`,
    None for the typical patient; `comorbidities` some of `COMORBIDITIES`: unknown ones are ignored with one warning per
    call, and one that is the condition itself changes nothing. All raise UnknownCode for an unknown code
    and ValueError for an unknown age group or severity.
    """

    def __init__(self, network: SymptomNetwork | None = None) -> None:
        self._network = symptom_network() if network is None else network
        self._chances: dict[tuple[str, str | None, str | None, tuple[str, ...]], dict[str, float]] = {}

    def sample_symptoms(
        self,
        code: str,
        age_group: str | None = None,
        severity: str | None = None,
        include_rare: bool = False,
        comorbidities: Iterable[str] | None = None,
        rng: random.Random | None = None,
    ) -> tuple[list[str], dict[str, Any]]:
        """Draw one presentation: at least one symptom, in the order of the condition's, and metadata.

        The metadata hold `presentation_type` ("standard" or "rare"), `case_name` of a rare one, and `comorbidities`
        (the known ones) if there are any. With `include_rare`, each rare case that fits the age group is drawn
        with the probability of its weight; modifiers do not change it. Without `rng`, the global generator is used.
        """
        draw = random.random if rng is None else rng.random
        known = self._known_comorbidities(comorbidities)
        chances = self._single_probabilities(code, age_group, severity, known)
        metadata = {"comorbidities": list(known)} if known else {}
        if include_rare and (case := _rare_case(self._network.conditions[code], age_group, draw())):
            return list(case.symptoms), {"presentation_type": "rare", "case_name": case.case_name, **metadata}
        symptoms: list[str] = []
        # Drawing again until there is one samples from exactly the conditional distribution of `probability`.
        while not symptoms:
            symptoms = [symptom for symptom, chance in chances.items() if draw() < chance]
        return symptoms, {"presentation_type": "standard", **metadata}

    def probability(
        self,
        symptom: str,
        code: str,
        age_group: str | None = None,
        severity: str | None = None,
        comorbidities: Iterable[str] | None = None,
    ) -> float:
        """Return the exact probability of the symptom in a standard presentation, in [0, 1]; 0 if it can't occur.

        Raises ValueError for a symptom that is not in the lexicon.
        """
        if symptom not in lexicon():
            raise ValueError(f"no symptom {symptom!r}; phaita.data.symptoms.lexicon() lists them")
        chances = self._single_probabilities(code, age_group, severity, self._known_comorbidities(comorbidities))
        any_symptom = 1.0 - math.prod(1.0 - chance for chance in chances.values())
        return chances.get(symptom, 0.0) / any_symptom

    def get_evidence_sources(self, code: str) -> dict[str, str]:
        """Return the source of each symptom's figure, by symptom; the figures are estimates, and the texts say so."""
        symptoms = self._presentations(code).symptoms
        return {symptom: self._network.sources[estimate.source] for symptom, estimate in symptoms.items()}

    def _presentations(self, code: str) -> Presentations:
        if code not in self._network.conditions:
            raise UnknownCode(code, self._network.conditions)
        return self._network.conditions[code]

    def _known_comorbidities(self, comorbidities: Iterable[str] | None) -> tuple[str, ...]:
        given = (comorbidities,) if isinstance(comorbidities, str) else comorbidities or ()
        asked = tuple(dict.fromkeys(given))
        unknown = [repr(name) for name in asked if name not in COMORBIDITIES]
        if unknown:
            message = f"ignored unknown comorbidities {', '.join(unknown)}; known are {', '.join(COMORBIDITIES)}"
            warnings.warn(message, stacklevel=3)  # the line that called the public method
        return tuple(name for name in asked if name in COMORBIDITIES)

    def _single_probabilities(
        self, code: str, age_group: str | None, severity: str | None, comorbidities: tuple[str, ...]
    ) -> dict[str, float]:
        """Return the probability q of each possible symptom, before the condition of at least one."""
        key = (code, age_group, severity, comorbidities)
        if key not in self._chances:
            # Thousands of samples are drawn for the same arguments; a caller who varies them all must not fill memory.
            if len(self._chances) >= _KEPT_MAX:
                self._chances.clear()
            self._chances[key] = self._compute_probabilities(*key)
        return self._chances[key]

    def _compute_probabilities(
        self, code: str, age_group: str | None, severity: str | None, comorbidities: tuple[str, ...]
    ) -> dict[str, float]:
        presentations = self._presentations(code).symptoms
        others = [one for name in comorbidities if (one := self._network.comorbidities[name]).code != code]
        factors = [
            _factors_of("age_group", age_group, self._network.age_groups),
            _factors_of("severity", severity, self._network.severities),
            *(one.factors for one in others),
        ]
        chances = {
            symptom: _scale_odds(estimate.p, math.prod(one.get(symptom, 1.0) for one in factors))
            for symptom, estimate in presentations.items()
        }
        for one in others:
            for symptom, cause in one.causes.items():
                chances[symptom] = 1.0 - (1.0 - chances.get(symptom, 0.0)) * (1.0 - cause)
        return chances


def _factors_of(argument: str, name: str | None, known: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    if name is None:
        return {}
    if name not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)} or None, got {name!r}")
    return known[name]


def _scale_odds(p: float, factor: float) -> float:
    """Return the probability whose odds are `factor` times those of p."""
    return factor * p / (1.0 - p + factor * p)


def _rare_case(presentations: Presentations, age_group: str | None, drawn: float) -> RareCase | None:
    """Return the rare case in whose share of [0, 1) the drawn number lies, or None."""
    for case in presentations.rare:
        if age_group is None or age_group in case.age_groups:
            if drawn < case.weight:
                return case
            drawn -= case.weight
    return None
