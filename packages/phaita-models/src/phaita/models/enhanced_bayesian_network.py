"""PHAITA's path to the symptom network with comorbidities and rare cases; BayesianSymptomNetwork has both."""

from phaita.models.bayesian_network import BayesianSymptomNetwork

__all__ = ["create_enhanced_bayesian_network"]


def create_enhanced_bayesian_network() -> BayesianSymptomNetwork:
    """Return a `BayesianSymptomNetwork`, which has comorbidities and rare cases already. Raises InvalidFile."""
    return BayesianSymptomNetwork()
