"""Presentations: a condition and its symptoms in one patient, from which complaints are written."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models.bayesian_network import AGE_GROUPS, SEVERITIES, BayesianSymptomNetwork

__all__ = ["PatientPresentation", "SymptomGenerator"]


@dataclass(frozen=True, slots=True)
class PatientPresentation:
    """A condition's code and one patient's symptoms, as ids of the lexicon.

    age_group: one of `AGE_GROUPS`; severity: one of `SEVERITIES`; None if unknown.
    metadata: the symptom network's metadata of the sample.

    Raises UnknownCode for an unknown code, ValueError for other unknown values and for an empty list of symptoms.
    """

    condition_code: str
    symptoms: tuple[str, ...]
    age_group: str | None = None
    severity: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        RespiratoryConditions.get_condition_by_code(self.condition_code)
        # The class is frozen; a repeated symptom counts once.
        object.__setattr__(self, "symptoms", tuple(dict.fromkeys(self.symptoms)))
        unknown = [symptom for symptom in self.symptoms if symptom not in lexicon()]
        if unknown or not self.symptoms:
            raise ValueError(f"symptoms must be one or more ids of the lexicon; got {', '.join(unknown) or 'none'}")
        for name, value, known in (
            ("age_group", self.age_group, AGE_GROUPS),
            ("severity", self.severity, SEVERITIES),
        ):
            if value not in {None, *known}:
                raise ValueError(f"{name} must be one of {', '.join(known)} or None, got {value!r}")


class SymptomGenerator:
    """A source of presentations, drawn from a symptom network, by default the package's own."""

    def __init__(self, network: BayesianSymptomNetwork | None = None) -> None:
        self.network = network or BayesianSymptomNetwork()

    def generate_symptoms(
        self,
        condition_code: str | None = None,
        *,
        age_group: str | None = None,
        severity: str | None = None,
        include_rare: bool = False,
        comorbidities: Iterable[str] | None = None,
        rng: random.Random | None = None,
    ) -> PatientPresentation:
        """Draw a presentation of the condition, by default a random one; without `rng`, from the global generator.

        The other parameters and the errors are those of `BayesianSymptomNetwork.sample_symptoms`.
        """
        code = condition_code or RespiratoryConditions.get_random_condition(rng)[0]
        symptoms, metadata = self.network.sample_symptoms(
            code,
            age_group=age_group,
            severity=severity,
            include_rare=include_rare,
            comorbidities=comorbidities,
            rng=rng,
        )
        return PatientPresentation(code, tuple(symptoms), age_group, severity, metadata)
