"""PHAITA's path to the symptom network with comorbidities and rare cases, which the one network has."""

from phaita.models.bayesian_network import BayesianSymptomNetwork

__all__ = ["create_enhanced_bayesian_network"]


def create_enhanced_bayesian_network() -> BayesianSymptomNetwork:
    """The network of `phaita.models.bayesian_network`, in which nothing is left to switch on. Raises InvalidFile."""
    return BayesianSymptomNetwork()
