"""Which symptoms a condition shows: a network of two layers, condition and modifiers above, symptoms below.

Given the condition and the modifiers, symptoms are independent of each other. The probability of one is

    odds(p) = odds(estimate) * the factors of age group, severity and comorbidities
    q       = 1 - (1 - p) * the product of (1 - cause) over the comorbidities

so a comorbidity changes how the condition shows itself and brings symptoms of its own: a noisy-OR, as QMR-DT has it
(M. A. Shwe et al., Methods Inf Med 30 (1991) 241-255). Nobody comes without a symptom: what is sampled, and the
probability that is told, is given that there is at least one, q / (1 - the product of (1 - q) over all symptoms).

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


class BayesianSymptomNetwork:
    """Samples presentations of a condition, and tells the probabilities by which it does.

    Arguments of its methods: `code` by ICD-10; `age_group` one of `AGE_GROUPS` and `severity` one of `SEVERITIES`,
    None for the typical patient; `comorbidities` some of `COMORBIDITIES`, of which unknown ones are left out with one
    warning a call, and one that is the condition itself changes nothing. All raise UnknownCode for an unknown code
    and ValueError for an unknown age group or severity.
    """

    def __init__(self, network: SymptomNetwork | None = None) -> None:
        self._network = symptom_network() if network is None else network

    def sample_symptoms(
        self,
        code: str,
        age_group: str | None = None,
        severity: str | None = None,
        include_rare: bool = False,
        comorbidities: Iterable[str] | None = None,
        rng: random.Random | None = None,
    ) -> tuple[list[str], dict[str, Any]]:
        """One presentation: at least one symptom, in the order of the condition's, and how it came about.

        The metadata hold `presentation_type` ("standard" or "rare"), `case_name` of a rare one, and `comorbidities`
        (the known ones) if there are any. With `include_rare`, each rare case that fits the age group comes in its
        weight's share of calls, as it is written: modifiers do not change it. Without `rng`, `random.seed` rules.
        """
        draw = random.random if rng is None else rng.random
        known = self._known(comorbidities)
        chances = self._chances(code, age_group, severity, known)
        metadata = {"comorbidities": list(known)} if known else {}
        if include_rare and (case := _rare(self._network.conditions[code], age_group, draw())):
            return list(case.symptoms), {"presentation_type": "rare", "case_name": case.case_name, **metadata}
        symptoms: list[str] = []
        # Drawing again until there is one is exactly the condition that `probability` states.
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
        """Exactly how often a standard presentation has the symptom, in [0, 1]; 0 where the condition has none of it.

        Raises ValueError for a symptom that is not in the lexicon.
        """
        if symptom not in lexicon():
            raise ValueError(f"no symptom {symptom!r}; phaita.data.symptoms.lexicon() has them all")
        chances = self._chances(code, age_group, severity, self._known(comorbidities))
        some = 1.0 - math.prod(1.0 - chance for chance in chances.values())
        return chances.get(symptom, 0.0) / some

    def get_evidence_sources(self, code: str) -> dict[str, str]:
        """What each of the condition's symptoms rests on; the figures are estimates, and the texts say so."""
        symptoms = self._presentations(code).symptoms
        return {symptom: self._network.sources[estimate.source] for symptom, estimate in symptoms.items()}

    def _presentations(self, code: str) -> Presentations:
        if code not in self._network.conditions:
            raise UnknownCode(code, self._network.conditions)
        return self._network.conditions[code]

    def _known(self, comorbidities: Iterable[str] | None) -> tuple[str, ...]:
        given = (comorbidities,) if isinstance(comorbidities, str) else comorbidities or ()
        asked = tuple(dict.fromkeys(given))
        unknown = [repr(name) for name in asked if name not in COMORBIDITIES]
        if unknown:
            message = f"left out unknown comorbidities {', '.join(unknown)}; known are {', '.join(COMORBIDITIES)}"
            warnings.warn(message, stacklevel=3)
        return tuple(name for name in asked if name in COMORBIDITIES)

    def _chances(
        self, code: str, age_group: str | None, severity: str | None, comorbidities: Iterable[str]
    ) -> dict[str, float]:
        """The probability of each symptom that can be there, on its own."""
        shown = self._presentations(code).symptoms
        others = [one for name in comorbidities if (one := self._network.comorbidities[name]).code != code]
        factors = [
            _named("age_group", age_group, self._network.age_groups),
            _named("severity", severity, self._network.severities),
            *(one.factors for one in others),
        ]
        chances = {
            symptom: _scaled(estimate.p, math.prod(one.get(symptom, 1.0) for one in factors))
            for symptom, estimate in shown.items()
        }
        for one in others:
            for symptom, cause in one.causes.items():
                chances[symptom] = 1.0 - (1.0 - chances.get(symptom, 0.0)) * (1.0 - cause)
        return chances


def _named(argument: str, name: str | None, known: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    if name is None:
        return {}
    if name not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)} or None, got {name!r}")
    return known[name]


def _scaled(p: float, factor: float) -> float:
    """The probability whose odds are `factor` times those of p."""
    return factor * p / (1.0 - p + factor * p)


def _rare(shown: Presentations, age_group: str | None, drawn: float) -> RareCase | None:
    """The rare case in whose share of [0, 1) the drawn number lies."""
    for case in shown.rare:
        if age_group is None or age_group in case.age_groups:
            if drawn < case.weight:
                return case
            drawn -= case.weight
    return None
