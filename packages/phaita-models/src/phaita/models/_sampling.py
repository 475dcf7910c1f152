"""What `generate` is handed beside the prompts: draws of which no row knows another's, and where a text ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

__all__ = ["OwnNoise", "StopText", "tidy"]

_BEFORE = re.compile(r"\A\s*(?:(?:patient|complaint|answer)\s*:\s*)?", re.IGNORECASE)
_WHOLE_SENTENCES = re.compile(r".*[.!?]", re.DOTALL)
_QUOTES = "\"'\u201c\u201d\u2018\u2019"


class OwnNoise(LogitsProcessor):
    """Turns the choice of the likeliest token into a draw, each row from random numbers of its own.

    Scores with Gumbel noise on them are largest at a token as often as its probability says (Gumbel, 1954). The noise
    is minus the logarithm of an exponential variable.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._own = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores and noise: [B, V]."""
        waits = [torch.empty_like(row).exponential_(generator=own) for row, own in zip(scores, self._own, strict=True)]
        smallest = torch.finfo(scores.dtype).tiny
        return scores - torch.stack(waits).clamp_(min=smallest).log()


class StopText(StoppingCriteria):
    """Ends a row once one of the marks stands in what it says, white space and a label before it left aside."""

    def __init__(self, tokenizer: Any, marks: Sequence[str], prompt_length: int) -> None:
        self._tokenizer, self._marks, self._from = tokenizer, marks, prompt_length

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows are done: [B]."""
        said = self._tokenizer.batch_decode(input_ids[:, self._from :], skip_special_tokens=True)
        done = [any(mark in _BEFORE.sub("", text) for mark in self._marks) for text in said]
        return torch.tensor(done, device=input_ids.device)


def tidy(said: str, marks: Sequence[str], ended: bool) -> str:
    """The complaint in what a model said: up to the first mark, without label and quotation marks.

    One that neither a mark nor the model itself ended is cut back to its whole sentences, where it has one.
    """
    text = _BEFORE.sub("", said)
    ends = [at for mark in marks if (at := text.find(mark)) >= 0]
    text = text[: min(ends)] if ends else text
    if not (ended or ends) and (whole := _WHOLE_SENTENCES.match(text)):
        text = whole.group()
    text = text.strip()
    quoted = len(text) > 1 and text[0] in _QUOTES
    return text.strip(_QUOTES).strip() if quoted else text
