"""Score the realism of complaints: three deterministic measures in [0, 1] and their weighted mean.

- fluency: ``1 / (1 + PPL / h)``, PPL being the perplexity per token (Jelinek et al., 1977) under a causal language
  model that reads the text after its start token. It is 1/2 where PPL = h.
- coherence: the mean cosine of neighbouring sentences' embeddings (Foltz, Kintsch and Landauer, 1998), below 0 counted
  as 0. An embedding is the mean over the encoder's tokens (Reimers and Gurevych, 2019). A text of one sentence has
  no neighbours: its coherence is 1 and does not count in its overall score.
- medical relevance: ``1 - 2**-n`` for n different symptoms of the lexicon in the text, including denied ones.

A text without a letter or digit scores 0 in all of them. Weights and h are PHAITA's choices, not fitted to data and not
compared with clinicians' judgement: the score ranks texts, it is not a probability.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn import functional

from phaita.data.symptoms import find_symptoms
from phaita.models._encoder import mean_pool, tokenize
from phaita.models._inference import batches, default_device, evaluating, pad, token_limit
from phaita.models._loading import LoadContext
from phaita.utils.config import Config, ModelConfig
from phaita_loader import Hub, Policy

__all__ = ["ENCODERS", "RealismConfig", "RealismLoss", "RealismScorer", "create_realism_scorer"]

_DEFAULT = ModelConfig()
ENCODERS = _DEFAULT.realism_encoders

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W_]")
_IGNORED = -100  # the label that cross_entropy ignores


@dataclass(frozen=True, slots=True)
class RealismConfig:
    """The weights of the three measures, and the size limits of a forward pass.

    half_perplexity: the perplexity at which fluency is 1/2.
    max_tokens: tokens that the language model reads of a text, and the encoder of a sentence; the rest is truncated.
    batch_tokens: tokens in a forward pass, padding included, which changes the speed and not the scores. None is 512
    on a CPU, where more does not fit the caches, and 8192 elsewhere.

    Raises ValueError for an invalid number.
    """

    fluency: float = 0.4
    coherence: float = 0.3
    medical_relevance: float = 0.3
    half_perplexity: float = 50.0
    max_tokens: int = 256
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        weights = (self.fluency, self.coherence, self.medical_relevance)
        # Coherence alone would be 0 / 0 for a text of one sentence.
        if min(weights) < 0 or self.fluency + self.medical_relevance <= 0:
            raise ValueError(f"weights must be 0 or more, and fluency or medical_relevance above 0; got {weights}")
        invalid_batch = self.batch_tokens is not None and self.batch_tokens < 1
        if self.half_perplexity <= 0 or self.max_tokens < 4 or invalid_batch:
            raise ValueError(f"half_perplexity and batch_tokens must be above 0, max_tokens 4 or more; got {self}")


class RealismScorer:
    """Scores complaints with a given encoder and causal language model; `from_pretrained` loads them.

    encoder_name: the encoder's repo; passed_over: the reasons why earlier encoders of the list did not load, by name.
    Raises ValueError if the language model's tokenizer has no token to start a text with.
    """

    def __init__(
        self,
        encoder: Any,
        encoder_tokenizer: Any,
        lm: Any,
        lm_tokenizer: Any,
        config: RealismConfig | None = None,
        *,
        encoder_name: str | None = None,
        passed_over: Mapping[str, str] | None = None,
    ) -> None:
        self.encoder, self.encoder_tokenizer = encoder, encoder_tokenizer
        self.lm, self.lm_tokenizer = lm, lm_tokenizer
        self.config = config or RealismConfig()
        self.encoder_name, self.passed_over = encoder_name, dict(passed_over or {})
        starts = [token for token in (lm_tokenizer.bos_token_id, lm_tokenizer.eos_token_id) if token is not None]
        if not starts:
            raise ValueError("lm_tokenizer has neither bos_token nor eos_token: set one, it starts every text")
        self._start = starts[0]

    @classmethod
    def from_pretrained(
        cls,
        encoders: str | Sequence[str] | None = None,
        perplexity_model: str | None = None,
        *,
        policy: Policy | None = None,
        hub: Hub | None = None,
        device: str | None = None,
        config: RealismConfig | Config | None = None,
    ) -> RealismScorer:
        """Load the first of the encoders that loads, and the language model, by default to CUDA if available.

        Models default to those of `config`, if it is a `Config`, else to the package's. After a ModelDownloadError or
        an InitialisationError the next encoder is tried, and a warning logged. The policy's deadline holds for all the
        loads together. Raises the first encoder's error if none loads, the language model's errors, and
        DeadlineExceeded at once.
        """
        named, own = (config.model, None) if isinstance(config, Config) else (_DEFAULT, config)
        names = named.realism_encoders if encoders is None else encoders
        context = LoadContext.start(policy, hub, default_device(device))
        found = context.first_encoder([names] if isinstance(names, str) else names)
        lm = context.load(perplexity_model or named.perplexity_model, "causal_lm")
        models = (found.loaded.model, found.loaded.tokenizer, lm.model, lm.tokenizer)
        return cls(*models, own, encoder_name=found.name, passed_over=found.passed_over)

    def compute_realism_score(self, complaints: Sequence[str]) -> Tensor:
        """Return the overall score of each text: [B], in [0, 1]."""
        if isinstance(complaints, str):
            raise TypeError("complaints must be a list of texts; for one text use [text]")
        return self.get_detailed_scores(complaints)["overall"]

    @overload
    def get_detailed_scores(self, complaints: str) -> dict[str, float]: ...
    @overload
    def get_detailed_scores(self, complaints: Sequence[str]) -> dict[str, Tensor]: ...
    def get_detailed_scores(self, complaints: str | Sequence[str]) -> dict[str, float] | dict[str, Tensor]:
        """Return fluency, coherence, medical_relevance and overall: [B] each, in [0, 1]; numbers for a single text."""
        if isinstance(complaints, str):
            return {name: float(score) for name, score in self.get_detailed_scores([complaints]).items()}
        texts, config = list(complaints), self.config
        has_words = torch.tensor([bool(_WORD.search(text)) for text in texts], dtype=torch.float, device=self.lm.device)
        with torch.no_grad(), evaluating(self.lm), evaluating(self.encoder):
            fluency = has_words * self._fluency(texts)  # [B]
            coherence, paired = self._coherence(texts)  # [B], [B]
        relevance = torch.tensor([_medical_relevance(text) for text in texts], device=self.lm.device)  # [B]
        weight = config.coherence * paired  # [B]
        total = config.fluency * fluency + weight * coherence + config.medical_relevance * relevance
        overall = has_words * total / (config.fluency + weight + config.medical_relevance)
        scores = {"fluency": fluency, "coherence": has_words * coherence, "medical_relevance": has_words * relevance}
        return {**scores, "overall": overall}

    def _fluency(self, texts: Sequence[str]) -> Tensor:
        room = token_limit(self.lm, self.lm_tokenizer, self.config.max_tokens)
        options = {"add_special_tokens": False, "truncation": True, "max_length": room - 1}
        rows = [[self._start, *row] for row in self.lm_tokenizer(list(texts), **options).input_ids] if texts else []
        means = torch.zeros(len(rows), device=self.lm.device)
        for batch in self._batches(rows, self.lm):
            means[batch] = self._mean_log_likelihood([rows[index] for index in batch])
        return 1 / (1 + torch.exp(-means) / self.config.half_perplexity)  # [B]

    def _mean_log_likelihood(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the mean log-likelihood, in nats, of the tokens after the first in each row: [B]; 0 for one token."""
        ids, mask = pad(rows, 0, "right", self.lm.device)  # [B, T]
        logits = self.lm(input_ids=ids, attention_mask=mask).logits.float()  # [B, T, V]
        real = functional.pad(mask[:, 1:], (0, 1))  # [B, T]: 1 where a token comes next
        following = functional.pad(ids[:, 1:], (0, 1)).masked_fill(real == 0, _IGNORED)  # [B, T]
        losses = functional.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")  # [B * T]
        return -losses.view_as(ids).sum(1) / real.sum(1).clamp(min=1)

    def _coherence(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the coherence of each text, and 1 if it has neighbouring sentences, else 0: [B] each."""
        neighbours = [list(pairwise(_sentences(text))) for text in texts]
        # Each sentence is embedded once, whatever the number of its neighbours and of the texts that have it.
        distinct = list(dict.fromkeys(sentence for own in neighbours for pair in own for sentence in pair))
        rows = {sentence: row for row, sentence in enumerate(distinct)}
        vectors = self._embed(distinct)  # [S, D]
        ones = [rows[one] for own in neighbours for one, _ in own]
        others = [rows[other] for own in neighbours for _, other in own]
        near = iter((vectors[ones] * vectors[others]).sum(-1).tolist())
        cosines = [[next(near) for _ in own] for own in neighbours]
        means = [min(1.0, max(0.0, sum(own) / len(own))) if own else 1.0 for own in cosines]
        paired = [float(len(own) > 0) for own in cosines]
        return torch.tensor(means, device=self.lm.device), torch.tensor(paired, device=self.lm.device)

    def _embed(self, sentences: Sequence[str]) -> Tensor:
        """Return the mean over each sentence's tokens, scaled to length 1: [S, D]."""
        encoder, tokenizer = self.encoder, self.encoder_tokenizer
        rows, _ = tokenize(encoder, tokenizer, list(sentences), self.config.max_tokens)
        vectors = torch.zeros(len(rows), encoder.config.hidden_size, device=encoder.device)
        for batch in self._batches(rows, encoder):
            vectors[batch] = mean_pool(encoder, [rows[index] for index in batch], tokenizer.pad_token_id or 0).float()
        return functional.normalize(vectors, dim=-1)

    def _batches(self, rows: Sequence[Sequence[int]], model: Any) -> Iterator[list[int]]:
        room = 512 if model.device.type == "cpu" else 8192
        return batches([len(row) for row in rows], self.config.batch_tokens or room)


class RealismLoss(nn.Module):
    """The loss `weight` * mean(1 - realism), for training a generator by policy gradient.

    Text has no gradient, so the loss alone has none. With the log-probabilities of the generated texts its value is
    the same, and its gradient is the score-function estimate of the gradient of the expected loss (REINFORCE: Williams,
    1992). The baseline of each text is the mean of the others, so the estimate is unbiased (Kool, van Hoof and Welling,
    2019).
    """

    def __init__(self, realism_scorer: RealismScorer, weight: float = 1.0) -> None:
        super().__init__()
        self.realism_scorer = realism_scorer
        self.weight = weight

    def forward(self, complaints: Sequence[str], log_probs: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar; `log_probs` [B] give it a gradient. Raises ValueError for another shape."""
        loss = 1 - self.realism_scorer.compute_realism_score(complaints)  # [B]
        if log_probs is None:
            return self.weight * loss.mean()
        if log_probs.shape != loss.shape:
            raise ValueError(f"{len(complaints)} texts need log_probs of that shape, got {tuple(log_probs.shape)}")
        loss = loss.to(log_probs.device)
        others = (loss.sum() - loss) / max(1, len(loss) - 1)  # [B]
        estimate = ((loss - others) * log_probs).mean()
        # The difference is 0: it adds a gradient and keeps the value.
        return self.weight * (loss.mean() + estimate - estimate.detach())


def create_realism_scorer(
    model_name: str = "bert-base-uncased",
    use_medical_model: bool = True,
    device: str | None = None,
    **options: Any,
) -> RealismScorer:
    """Load a scorer as PHAITA does: with the config's encoders, or `model_name` alone if not `use_medical_model`.

    Other options and the errors are those of `RealismScorer.from_pretrained`.
    """
    return RealismScorer.from_pretrained(None if use_medical_model else model_name, device=device, **options)


def _sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE_END.split(text.strip()) if _WORD.search(part)]


def _medical_relevance(text: str) -> float:
    return float(1 - 0.5 ** len({match.symptom for match in find_symptoms(text)}))
