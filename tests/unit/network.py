"""The symptom network, and what can come of it."""

from __future__ import annotations

from typing import Any

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models.bayesian_network import BayesianSymptomNetwork

CODES = list(RespiratoryConditions.get_all_conditions())
NETWORK = BayesianSymptomNetwork()


def possible(**arguments: Any) -> dict[str, float]:
    """The symptoms that can come, with their probabilities."""
    chances = {symptom: NETWORK.probability(symptom, **arguments) for symptom in lexicon()}
    return {symptom: chance for symptom, chance in chances.items() if chance > 0.0}
