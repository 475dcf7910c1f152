"""Sampling for `generate`: random numbers per row, marks that end a text, and the clean-up of the result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

__all__ = ["RowNoise", "StopMarks", "clean_complaint"]

_BEFORE = re.compile(r"\A\s*(?:(?:patient|complaint|answer)\s*:\s*)?", re.IGNORECASE)
_WHOLE_SENTENCES = re.compile(r".*[.!?]", re.DOTALL)
_QUOTES = "\"'\u201c\u201d\u2018\u2019"


class RowNoise(LogitsProcessor):
    """Turns greedy decoding into sampling, each row with its own random generator.

    With Gumbel noise added, the scores have their maximum at each token with that token's probability (Gumbel, 1954).
    The noise is minus the logarithm of an exponential variable.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores plus noise, [B, V]."""
        samples = [
            torch.empty_like(row).exponential_(generator=one) for row, one in zip(scores, self._generators, strict=True)
        ]
        smallest = torch.finfo(scores.dtype).tiny  # a draw may round to 0, which has no logarithm
        return scores - torch.stack(samples).clamp_(min=smallest).log()


class StopMarks(StoppingCriteria):
    """Ends a row once its text contains one of the marks, ignoring leading white space and a leading label."""

    def __init__(self, tokenizer: Any, marks: Sequence[str], prompt_length: int) -> None:
        self._tokenizer, self._marks, self._prompt_length = tokenizer, marks, prompt_length

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return True for each row that is done, [B]."""
        texts = self._tokenizer.batch_decode(input_ids[:, self._prompt_length :], skip_special_tokens=True)
        done = [any(mark in _BEFORE.sub("", text) for mark in self._marks) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def clean_complaint(output: str, marks: Sequence[str], ended: bool) -> str:
    """Return the complaint in a model's output: up to the first mark, without label and quotation marks.

    A text that neither a mark nor the end token ended is cut back to whole sentences, if it has one.
    """
    text = _BEFORE.sub("", output)
    ends = [at for mark in marks if (at := text.find(mark)) >= 0]
    text = text[: min(ends)] if ends else text
    if not (ended or ends) and (whole := _WHOLE_SENTENCES.match(text)):
        text = whole.group()
    text = text.strip()
    quoted = len(text) > 1 and text[0] in _QUOTES
    return text.strip(_QUOTES).strip() if quoted else text
