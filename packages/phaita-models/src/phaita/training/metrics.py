"""Measures of a ranking of conditions: hits, calibration, and the confidence intervals of both.

Every measure takes weights of the presentations, [..., N], all equal by default: a bootstrap sample is a measure under
the weights that resampling gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from phaita.data.icd_conditions import RespiratoryConditions

__all__ = [
    "PNEUMONIAS",
    "Measure",
    "calibration_error",
    "figures",
    "group_hits",
    "hits",
    "intervals",
    "mean_of",
    "minus",
    "ranking",
    "share",
]

Measure: TypeAlias = Callable[[Tensor | None], Tensor]

PNEUMONIAS = frozenset({"J12.9", "J15.9", "J18.9"})
"""The codes of viral, bacterial and unspecified pneumonia, whose texts hardly differ."""

# The number of resamples at a time, as their counts are held in memory, one for each presentation.
_CHUNK = 100


def figures(probabilities: Tensor, labels: Tensor) -> dict[str, Measure]:  # [N, K], [N]
    """Return the reported measures of a method, by name; labels are indices in the order of the conditions."""
    codes = list(RespiratoryConditions.get_all_conditions())
    kinds = list(dict.fromkeys("pneumonia" if code in PNEUMONIAS else code for code in codes))
    groups = [kinds.index("pneumonia" if code in PNEUMONIAS else code) for code in codes]
    return {
        "top-1": partial(share, hits(probabilities, labels)),
        "top-3": partial(share, hits(probabilities, labels, 3)),
        "top-1, pneumonias as one": partial(share, group_hits(probabilities, labels, groups)),
        "calibration error": partial(calibration_error, probabilities, labels),
    }


def hits(probabilities: Tensor, labels: Tensor, top_k: int = 1) -> Tensor:  # [N, K], [N] -> [N]
    """Return 1 where the label is among the `top_k` likeliest, else 0; of equal ones the first counts as likelier."""
    likeliest = probabilities.argsort(dim=-1, descending=True, stable=True)[:, :top_k]  # [N, k]
    return (likeliest == labels.unsqueeze(-1)).any(-1).double()


def group_hits(probabilities: Tensor, labels: Tensor, groups: Sequence[int]) -> Tensor:  # [N, K], [N], K -> [N]
    """Return 1 where the likeliest condition is in the same group as the label, else 0."""
    group = torch.tensor(groups, device=labels.device)  # [K]
    likeliest = probabilities.argsort(dim=-1, descending=True, stable=True)[:, 0]  # [N]
    return (group[likeliest] == group[labels]).double()


def share(hit: Tensor, weights: Tensor | None = None) -> Tensor:  # [N], [..., N] -> [...]
    """Return the weighted share of hits."""
    weights = torch.ones_like(hit) if weights is None else weights.to(hit)
    return weights @ hit / weights.sum(-1)


def calibration_error(
    probabilities: Tensor, labels: Tensor, weights: Tensor | None = None, bins: int = 15
) -> Tensor:  # [N, K], [N], [..., N] -> [...]
    """Return the expected calibration error: the distance of confidence and accuracy in bins of equal width.

    Guo et al., On Calibration of Modern Neural Networks (ICML 2017), with their 15 bins, each open at its lower end.
    """
    confidence = probabilities.double().max(-1).values  # [N]
    gap = confidence - hits(probabilities, labels)
    weights = torch.ones_like(gap) if weights is None else weights.to(gap)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    members = torch.nn.functional.one_hot(place, bins).to(gap)  # [N, bins]
    return ((weights * gap) @ members).abs().sum(-1) / weights.sum(-1)


def mean_of(measures: Sequence[Measure]) -> Measure:
    """Return the mean of measures over the same weights."""
    return lambda weights: torch.stack([measure(weights) for measure in measures]).mean(0)


def minus(one: Measure, other: Measure) -> Measure:
    """Return the difference of two measures over the same weights."""
    return lambda weights: one(weights) - other(weights)


def ranking(scores: Tensor, positive: Tensor) -> float:
    """Return the area under the ROC curve of scores [N] and truths [N]; a tie counts as half."""
    high, low = scores[positive].double(), scores[~positive].double()
    wins = (high.unsqueeze(1) > low).double().sum() + 0.5 * (high.unsqueeze(1) == low).double().sum()
    return float(wins / (len(high) * len(low)))


def intervals(
    measures: Sequence[Measure], sizes: Sequence[int], *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of measures, each over its own presentations.

    Presentations are resampled within each measure. Equal seeds give equal resamples for every method, so that the
    interval of a difference is that of paired figures.
    """
    source = torch.Generator().manual_seed(seed)
    means = torch.zeros(samples, dtype=torch.double)
    for measure, size in zip(measures, sizes, strict=True):
        parts = []
        for start in range(0, samples, _CHUNK):
            rows = min(_CHUNK, samples - start)
            drawn = torch.randint(size, (rows, size), generator=source)  # [R, N]
            counts = torch.zeros(rows, size, dtype=torch.double).scatter_add_(1, drawn, torch.ones_like(drawn).double())
            parts.append(measure(counts))
        means += torch.cat(parts) / len(measures)
    low, high = torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.double)).tolist()
    return low, high
