"""Complaints as input of a discriminator; a frozen encoder encodes each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from phaita.data.symptoms import Match
from phaita.models._encoder import mean_pool, tokenize
from phaita.models._inference import batches
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.training.complaints import Complaint

__all__ = ["GARBLED", "Encodings", "FindSymptoms", "Texts", "labels_of", "predict"]

GARBLED = -100
"""The label of a garbled text, which has no condition; torch's cross entropy ignores it."""

FindSymptoms: TypeAlias = Callable[[str], tuple[Match, ...]]

# Tokens per batch, padding included.
_BATCH_TOKENS = 4096


class Encodings:
    """A cache of encoded texts: the model's encoder runs once per text, without dropout and without a gradient."""

    def __init__(self, model: DiagnosisDiscriminator) -> None:
        self._model = model
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the encoded texts, [N, W], on the CPU."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        tokens = tokens_of(self._model, new)
        encoder = self._model.encoder
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            for rows in batches([len(row) for row in tokens], _BATCH_TOKENS):
                encoded = mean_pool(encoder, [tokens[row] for row in rows], _padding(self._model)).float().cpu()
                self._known.update(zip((new[row] for row in rows), encoded, strict=True))
        encoder.train(training)
        return torch.stack([self._known[text] for text in texts])


class Texts:
    """Texts with the states of their symptoms and their labels.

    encodings: None where the encoder is trained, so that each batch is encoded again.
    finds: functions that find symptoms; the first is used for measuring, the others only in training.
    """

    def __init__(
        self,
        model: DiagnosisDiscriminator,
        complaints: Sequence[Complaint],
        encodings: Encodings | None,
        *finds: FindSymptoms,
    ) -> None:
        texts = [one.text for one in complaints]
        self.device = model.fusion.hidden.weight.device
        self.tokens = [] if encodings else tokens_of(model, texts)
        self.encoded = encodings(texts).to(self.device) if encodings else None  # [N, W]
        graph = model.symptom_graph
        self.states = torch.stack([graph.states([find(text) for text in texts]) for find in finds])  # [V, N, S]
        self.states = self.states.to(self.device)
        self.labels = labels_of(model, complaints).to(self.device)  # [N]
        self.fluent = torch.tensor([float(one.fluent) for one in complaints], device=self.device)  # [N]

    def __len__(self) -> int:
        return len(self.labels)

    def text(self, model: DiagnosisDiscriminator, rows: Tensor) -> Tensor:  # [B] -> [B, W]
        """Return encoded texts, with a gradient where the encoder is trained."""
        if self.encoded is not None:
            return self.encoded[rows]
        return mean_pool(model.encoder, [self.tokens[row] for row in rows.tolist()], _padding(model))

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of row numbers, [B] each, in the given order or from the first."""
        yield from (torch.arange(len(self)) if order is None else order).to(self.device).split(size)


def labels_of(model: DiagnosisDiscriminator, complaints: Sequence[Complaint]) -> Tensor:
    """Return the index of each complaint's code in the model's labels, [N]; GARBLED for a complaint without a code."""
    index = {code: number for number, code in enumerate(model.symptom_graph.labels)}
    return torch.tensor([GARBLED if one.code is None else index[one.code] for one in complaints])


def predict(model: DiagnosisDiscriminator, texts: Texts, size: int = 256) -> tuple[Tensor, Tensor]:
    """Return probabilities of the conditions, [N, K], and of fluent text, [N], on the CPU; in evaluation mode only."""
    with torch.no_grad():
        features = (model.features(texts.text(model, rows), texts.states[0, rows]) for rows in texts.batches(size))
        parts = [model.fusion(one) for one in features]
    logits, realism = (torch.cat(one).float().cpu() for one in zip(*parts, strict=True))
    return logits.softmax(-1), realism.squeeze(-1).sigmoid()


def tokens_of(model: DiagnosisDiscriminator, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, truncated to the model's `max_length`."""
    return tokenize(model.encoder, model.tokenizer, texts, model.config.max_length)[0]


def _padding(model: DiagnosisDiscriminator) -> int:
    return model.tokenizer.pad_token_id or 0
