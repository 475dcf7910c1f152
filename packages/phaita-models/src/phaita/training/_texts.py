"""Complaints as a discriminator takes them: encoded once where its encoder does not learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from phaita.data.symptoms import Match
from phaita.models._encoder import pooled, tokenized
from phaita.models._inference import batches
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.training.complaints import Complaint

__all__ = ["GARBLED", "Encodings", "Find", "Texts", "answers", "labels_of"]

GARBLED = -100
"""The label of a text that is about no condition; torch's cross entropy passes it over."""

Find: TypeAlias = Callable[[str], tuple[Match, ...]]

# Tokens a batch, padding counted.
_ROOM = 4096


class Encodings:
    """Texts through the encoder of a model, without dropout and without a gradient; each once, then from memory."""

    def __init__(self, model: DiagnosisDiscriminator) -> None:
        self._model = model
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[N, W], on the CPU."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        tokens = tokens_of(self._model, new)
        encoder = self._model.encoder
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            for rows in batches([len(row) for row in tokens], _ROOM):
                encoded = pooled(encoder, [tokens[row] for row in rows], _padding(self._model)).float().cpu()
                self._known.update(zip((new[row] for row in rows), encoded, strict=True))
        encoder.train(training)
        return torch.stack([self._known[text] for text in texts])


class Texts:
    """Texts, what the graph is told of each, and their labels.

    encodings: None where the encoder learns, so that each batch is encoded anew.
    finds: the ways in which symptoms are found; the first is the one that counts, the others are for training.
    """

    def __init__(
        self,
        model: DiagnosisDiscriminator,
        complaints: Sequence[Complaint],
        encodings: Encodings | None,
        *finds: Find,
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
        """Encoded texts, with a gradient where the encoder learns."""
        if self.encoded is not None:
            return self.encoded[rows]
        return pooled(model.encoder, [self.tokens[row] for row in rows.tolist()], _padding(model))

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Tensor]:
        """Row numbers, [B] each, by default in order."""
        yield from (torch.arange(len(self)) if order is None else order).to(self.device).split(size)


def labels_of(model: DiagnosisDiscriminator, complaints: Sequence[Complaint]) -> Tensor:
    """Each complaint's place among the model's labels, [N]; GARBLED where it has none."""
    place = {code: number for number, code in enumerate(model.symptom_graph.labels)}
    return torch.tensor([GARBLED if one.code is None else place[one.code] for one in complaints])


def answers(model: DiagnosisDiscriminator, texts: Texts, size: int = 256) -> tuple[Tensor, Tensor]:
    """Probabilities of the conditions, [N, K], and of fluent text, [N], on the CPU. The model is in evaluation mode."""
    with torch.no_grad():
        features = (model.features(texts.text(model, rows), texts.states[0, rows]) for rows in texts.batches(size))
        parts = [model.fusion(one) for one in features]
    logits, realism = (torch.cat(one).float().cpu() for one in zip(*parts, strict=True))
    return logits.softmax(-1), realism.squeeze(-1).sigmoid()


def tokens_of(model: DiagnosisDiscriminator, texts: list[str]) -> list[list[int]]:
    """Ids of each text's tokens, cut to what the model reads."""
    return tokenized(model.encoder, model.tokenizer, texts, model.config.max_length)[0]


def _padding(model: DiagnosisDiscriminator) -> int:
    return model.tokenizer.pad_token_id or 0
