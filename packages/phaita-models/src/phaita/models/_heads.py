"""The heads of the discriminator, from features to logits, and the masks of Monte Carlo dropout."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

__all__ = ["Fusion"]


class Fusion(nn.Module):
    """One hidden layer and two heads: `diagnosis`, one logit per condition, and `realism`, one logit."""

    def __init__(self, features: int, size: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, size)
        self.dropout = nn.Dropout(dropout)
        self.diagnosis = nn.Linear(size, labels)
        self.realism = nn.Linear(size, 1)

    def forward(self, features: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits of both heads, [..., K] and [..., 1], from features [..., D]; `masks` replace dropout."""
        before, after = masks or (None, None)
        features = self.dropout(features) if before is None else features * before  # [..., D]
        hidden = gelu(self.hidden(features))  # [..., H]
        hidden = self.dropout(hidden) if after is None else hidden * after
        return self.diagnosis(hidden), self.realism(hidden)

    def masks(self, samples: int, seed: int | None) -> tuple[Tensor, Tensor]:  # [M, 1, D], [M, 1, H]
        """Draw a dropout mask per sample, shared by all texts; with a seed, torch's global generator is not used."""
        source = None if seed is None else torch.Generator().manual_seed(seed)
        keep, weight = 1.0 - self.dropout.p, self.hidden.weight
        # Drawn on the CPU, so that a seed means the same masks on every device.
        before, after = (
            torch.empty(samples, 1, size).bernoulli_(keep, generator=source).div_(keep).to(weight)
            for size in (self.hidden.in_features, self.hidden.out_features)
        )
        return before, after
