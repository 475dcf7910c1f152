"""PHAITA's path to the realism scorer: the public names of phaita.models.realism."""

from phaita.models.realism import ENCODERS, RealismConfig, RealismLoss, RealismScorer, create_realism_scorer

__all__ = ["ENCODERS", "RealismConfig", "RealismLoss", "RealismScorer", "create_realism_scorer"]
