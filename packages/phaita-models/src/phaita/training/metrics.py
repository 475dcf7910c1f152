"""How good a ranking of conditions is: hits, calibration, and how sure the figure itself is.

Every measure takes weights of the presentations, [..., N], all equal by default: a bootstrap is a measure under the
weights that resampling gives.
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
"""Their texts hardly differ: bacterial, viral, and of an organism that is not known."""

# Resamples at a time: their counts are held in memory, a number for each presentation.
_CHUNK = 100


def figures(probabilities: Tensor, labels: Tensor) -> dict[str, Measure]:  # [N, K], [N]
    """What is reported of a method, by name; labels are places in the order of the conditions."""
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
    """1 where the label is among the `top_k` likeliest, else 0; of equal ones the first is the likelier."""
    likeliest = probabilities.argsort(dim=-1, descending=True, stable=True)[:, :top_k]  # [N, k]
    return (likeliest == labels.unsqueeze(-1)).any(-1).double()


def group_hits(probabilities: Tensor, labels: Tensor, groups: Sequence[int]) -> Tensor:  # [N, K], [N], K -> [N]
    """1 where the likeliest condition is the label's, or has an equal number in `groups`, else 0."""
    of = torch.tensor(groups, device=labels.device)  # [K]
    likeliest = probabilities.argsort(dim=-1, descending=True, stable=True)[:, 0]  # [N]
    return (of[likeliest] == of[labels]).double()


def share(hit: Tensor, weights: Tensor | None = None) -> Tensor:  # [N], [..., N] -> [...]
    """The weighted share of hits."""
    weights = torch.ones_like(hit) if weights is None else weights.to(hit)
    return weights @ hit / weights.sum(-1)


def calibration_error(
    probabilities: Tensor, labels: Tensor, weights: Tensor | None = None, bins: int = 15
) -> Tensor:  # [N, K], [N], [..., N] -> [...]
    """Expected calibration error: how far confidence and accuracy lie apart, in bins of equal width.

    Guo et al., On Calibration of Modern Neural Networks (ICML 2017), with their 15 bins, each without its lower end.
    """
    confidence = probabilities.double().max(-1).values  # [N]
    gap = confidence - hits(probabilities, labels)
    weights = torch.ones_like(gap) if weights is None else weights.to(gap)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    members = torch.nn.functional.one_hot(place, bins).to(gap)  # [N, bins]
    return ((weights * gap) @ members).abs().sum(-1) / weights.sum(-1)


def mean_of(measures: Sequence[Measure]) -> Measure:
    """The mean of measures over the same weights."""
    return lambda weights: torch.stack([measure(weights) for measure in measures]).mean(0)


def minus(one: Measure, other: Measure) -> Measure:
    """The difference of two measures over the same weights."""
    return lambda weights: one(weights) - other(weights)


def ranking(scores: Tensor, positive: Tensor) -> float:
    """The area under the ROC curve: how often a positive one has the higher score; a tie is half a win. [N], [N]"""
    high, low = scores[positive].double(), scores[~positive].double()
    wins = (high.unsqueeze(1) > low).double().sum() + 0.5 * (high.unsqueeze(1) == low).double().sum()
    return float(wins / (len(high) * len(low)))


def intervals(
    measures: Sequence[Measure], sizes: Sequence[int], *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of measures, each over presentations of its own.

    Presentations are resampled within each measure's; one seed means the same resamples for every method, so that the
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
