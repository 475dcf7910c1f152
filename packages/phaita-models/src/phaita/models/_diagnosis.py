"""Diagnoses: the discriminator's probabilities as records for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phaita.data.symptoms import Match

__all__ = ["Diagnosis", "diagnoses"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One condition for one complaint: a model's estimate, not a medical finding.

    probability: the mean over the Monte Carlo samples, or the single value without sampling.
    interval: percentiles of the samples, widened to include the probability; without sampling both ends equal it.
    uncertainty: the entropy of the probabilities of all conditions, as a share of its maximum: 0 is certain, 1 is a
        uniform distribution; the same in all of a complaint's records.
    evidence: the symptoms found in the text, negated ones marked; the same in all of a complaint's records.
    abstained: True if the record must not be relied on, because the probability is below the threshold, or because
        the text (an empty one, for example) names no symptom that is present.
    truncated: True if the text is longer than the encoder's limit, so that only its beginning was read.
    """

    code: str
    name: str
    probability: float
    interval: tuple[float, float]
    uncertainty: float
    evidence: tuple[Match, ...]
    abstained: bool
    truncated: bool


def diagnoses(
    samples: Tensor,
    labels: Mapping[str, str],
    evidence: Sequence[tuple[Match, ...]],
    truncated: Sequence[bool],
    *,
    top_k: int,
    interval: float,
    abstain_below: float,
) -> list[tuple[Diagnosis, ...]]:
    """Return the likeliest conditions of each complaint, likeliest first, from probabilities of M samples [M, B, K]."""
    means = samples.mean(0)  # [B, K]
    low, high = torch.quantile(samples, samples.new_tensor([0.5 - interval / 2, 0.5 + interval / 2]), dim=0)  # [B, K]
    columns = torch.stack([means, low.minimum(means), high.maximum(means)], dim=-1).tolist()  # [B, K, 3]
    entropy = torch.special.entr(means).sum(-1) / math.log(len(labels))  # [B]
    per_complaint = zip(columns, entropy.clamp(0.0, 1.0).tolist(), evidence, truncated, strict=True)
    return [
        tuple(
            Diagnosis(
                code,
                name,
                probability=probability,
                interval=(lowest, highest),
                uncertainty=uncertainty,
                evidence=matches,
                # `not >=` rather than `<`, so that NaN abstains.
                abstained=not (probability >= abstain_below and any(not match.negated for match in matches)),
                truncated=cut,
            )
            for (code, name), (probability, lowest, highest) in _ranked(labels, values)[:top_k]
        )
        for values, uncertainty, matches, cut in per_complaint
    ]


def _ranked(labels: Mapping[str, str], values: list[list[float]]) -> list[tuple[tuple[str, str], list[float]]]:
    return sorted(zip(labels.items(), values, strict=True), key=lambda one: -one[1][0])
