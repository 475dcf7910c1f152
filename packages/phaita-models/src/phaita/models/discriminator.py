"""Rank respiratory conditions for a complaint in a patient's words, or abstain. Not a medical device.

A text encoder reads the words, graph attention the symptoms that they name. One head ranks the conditions, the other
scores whether a person wrote the complaint or it was generated.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import HfApi
from pydantic import ConfigDict
from torch import Tensor, nn

from phaita.data.symptoms import Match, find_symptoms
from phaita.errors import Untrained
from phaita.models import _checkpoint
from phaita.models._card import card
from phaita.models._checkpoint import Checkpoint, TrainingRecord
from phaita.models._diagnosis import Diagnosis, diagnoses
from phaita.models._encoder import encoder_config, load_cached_encoder, mean_pool, remove_pooler, tokenize
from phaita.models._graph import GraphEncoder, SymptomGraph
from phaita.models._heads import Fusion
from phaita.models._inference import evaluating
from phaita.models._loading import deadline_of
from phaita.utils.config import Config
from phaita_loader import Hub, InitialisationError, ModelRequest, Policy, fetch, verify

__all__ = ["Diagnosis", "DiagnosisDiscriminator", "DiscriminatorConfig", "TrainingRecord", "Untrained"]

_DEFAULT_ENCODER = "microsoft/deberta-v3-base"


@dataclass(frozen=True, slots=True)
class DiscriminatorConfig:
    """The sizes of a model and the settings of its answers.

    encoder: the text encoder's repo; None is microsoft/deberta-v3-base for `from_pretrained`, else unknown.
    revision: the encoder's commit, once it is loaded.
    max_length: tokens read of a text, or fewer if the encoder has fewer positions; the rest is truncated.
    use_graph: False leaves the graph out, to measure its effect.
    node_size, graph_heads, graph_layers: of the attention; `graph_heads` must divide `node_size`.
    fusion_size: width of the hidden layer over text and graph. dropout: before and after it.
    mc_dropout: True samples with dropout in `predict_diagnosis`; a call can override it.
    interval: share of the Monte Carlo samples inside a record's interval.
    abstain_below: records of a lower probability are marked as abstained. The default is a starting value: choose one
        on held-out data.
    batch_size: texts encoded at a time.

    Raises ValueError for an invalid value.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    encoder: str | None = None
    revision: str | None = None
    max_length: int = 256
    use_graph: bool = True
    node_size: int = 64
    graph_heads: int = 4
    graph_layers: int = 2
    fusion_size: int = 256
    dropout: float = 0.4
    mc_dropout: bool = True
    interval: float = 0.9
    abstain_below: float = 0.3
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("max_length", "node_size", "graph_heads", "graph_layers", "fusion_size", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)!r}")
        if self.node_size % self.graph_heads:
            raise ValueError(f"graph_heads ({self.graph_heads}) must divide node_size ({self.node_size})")
        for name in ("interval", "abstain_below"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)!r}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be 0 or more and below 1, got {self.dropout!r}")

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the package's settings for this model; the other fields have their defaults."""
        settings = config.model
        return cls(
            encoder=settings.deberta_model,
            max_length=settings.max_length,
            node_size=settings.gnn_hidden,
            graph_heads=settings.gnn_heads,
            dropout=settings.dropout,
            mc_dropout=settings.mc_dropout,
        )


class DiagnosisDiscriminator(nn.Module):
    """A text encoder and the symptom graph, fused, with two heads.

    `trained_on` is None until training sets it. `save_pretrained` saves it, a `state_dict` does not.
    """

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        config: DiscriminatorConfig | None = None,
        *,
        graph: SymptomGraph | None = None,
        trained_on: TrainingRecord | None = None,
    ) -> None:
        """Build the model around a given encoder of transformers, with random heads; nothing is downloaded.

        The encoder must return `last_hidden_state`. It becomes a part of this model, and its pooler, which would not be
        used or trained, is removed. `graph`: by default that of this version's conditions and lexicon.
        """
        super().__init__()
        self.config = config or DiscriminatorConfig()
        self.symptom_graph = graph or SymptomGraph.of_conditions()
        self.trained_on = trained_on
        self.tokenizer = tokenizer
        self.encoder = encoder
        remove_pooler(encoder)
        width = encoder.config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.graph = self._graph_encoder() if self.config.use_graph else None
        features = width + (self.graph.out_features if self.graph is not None else 0)
        self.fusion = Fusion(features, self.config.fusion_size, len(self.symptom_graph.labels), self.config.dropout)

    def _graph_encoder(self) -> GraphEncoder:
        config = self.config
        return GraphEncoder(self.symptom_graph, config.node_size, config.graph_heads, config.graph_layers)

    @classmethod
    def from_pretrained(
        cls,
        model_name: str | os.PathLike[str] | None = None,
        *,
        policy: Policy | None = None,
        hub: Hub | None = None,
        revision: str = "main",
        config: DiscriminatorConfig | Config | None = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """Load a checkpoint (a folder or a repo), or build a model around a text encoder; in evaluation mode.

        The default name is the config's encoder, else microsoft/deberta-v3-base. A checkpoint has its own config,
        tokenizer and symptom graph; on a plain encoder the heads are untrained. phaita_loader fetches and verifies
        everything, from one commit, with `policy` and `hub`.

        Raises ModelDownloadError if the download fails; InitialisationError if the files make no model, have a newer
        format or other conditions; ValueError for an invalid name, or for a config beside a checkpoint.
        """
        config = DiscriminatorConfig.of(config) if isinstance(config, Config) else config
        name = model_name or (config and config.encoder) or _DEFAULT_ENCODER
        # A path object always means a folder, a string only if the folder exists.
        if Path(name).is_dir() or not isinstance(name, str):
            model = cls._from_folder(Path(name), config)
        else:
            model = cls._from_hub(ModelRequest(name, revision), policy or Policy(), hub or Hub(), config)
        model.eval()
        if device is not None:
            model.to(device)
        return model

    @classmethod
    def _from_hub(cls, request: ModelRequest, policy: Policy, hub: Hub, config: DiscriminatorConfig | None) -> Self:
        deadline = deadline_of(policy)
        snapshot = fetch(request, hub=hub, policy=policy, deadline=deadline)
        if not _checkpoint.is_checkpoint(snapshot.path):
            pinned = replace(request, revision=snapshot.commit)
            loaded = load_cached_encoder(pinned, hub, policy, deadline)
            pinned_config = replace(config or DiscriminatorConfig(), encoder=pinned.repo_id, revision=pinned.revision)
            return cls(loaded.model, loaded.tokenizer, pinned_config)
        # An encoder is verified by `load`, a checkpoint is built here.
        verify(snapshot, hub.cache_dir)
        try:
            return cls._from_folder(snapshot.path, config)
        except InitialisationError as error:
            # Raised for a folder of the cache: users know the repo's name.
            error.filled(request=request)
            raise

    @classmethod
    def _from_folder(cls, folder: Path, config: DiscriminatorConfig | None) -> Self:
        checkpoint = _checkpoint.read(folder, Checkpoint[DiscriminatorConfig])
        if config is not None:
            raise ValueError("a checkpoint has its own config; to change it, set `model.config` after loading")
        encoder, tokenizer = _checkpoint.read_encoder(folder, checkpoint)
        model = cls(encoder, tokenizer, checkpoint.config, graph=checkpoint.graph, trained_on=checkpoint.trained_on)
        _checkpoint.read_weights(folder, model)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint that `from_pretrained` loads without any other repo, replacing an existing one.

        It has the weights (safetensors), a description (JSON), the tokenizer and a model card. Raises OSError.
        """
        checkpoint = Checkpoint(
            config=self.config,
            encoder=encoder_config(self.encoder),
            graph=self.symptom_graph,
            trained_on=self.trained_on,
        )
        _checkpoint.write(Path(folder), checkpoint, self, self.tokenizer, card(checkpoint))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        commit_message: str = "Add the discriminator",
        api: HfApi | None = None,
    ) -> str:
        """Save to a repo on the Hub, which is created if missing; return the commit's URL.

        `api` replaces the client made with `token`. Raises the errors of huggingface_hub.
        """
        api = api or HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message).commit_url)

    @property
    def trained(self) -> bool:
        """True if the heads are trained."""
        return self.trained_on is not None

    def forward(self, complaints: Sequence[str]) -> dict[str, Tensor]:
        """Return the scores of a batch of complaints, with gradients.

        `diagnosis_logits` [B, K], in the order of `symptom_graph.labels`; `discriminator_scores` [B, 1], probabilities
        that a person wrote the complaint (1) and it was not generated (0), or of the two classes that training used
        instead (see `trained_on`). Raises ValueError for an empty batch.
        """
        texts = _check_texts(complaints)
        if not texts:
            raise ValueError("forward needs one complaint or more")
        tokens, _ = self._tokenize(texts)
        logits, realism = self.fusion(self._features(tokens, [find_symptoms(text) for text in texts]))
        return {"diagnosis_logits": logits, "discriminator_scores": torch.sigmoid(realism)}

    def predict_diagnosis(
        self,
        complaints: Sequence[str],
        top_k: int = 1,
        use_mc_dropout: bool | None = None,
        num_mc_samples: int = 20,
        *,
        allow_untrained: bool = False,
        seed: int | None = None,
    ) -> list[tuple[Diagnosis, ...]]:
        """Return the `top_k` likeliest conditions of each complaint, likeliest first. Not a medical device.

        Monte Carlo dropout (Gal and Ghahramani, 2016): each text is encoded once, without dropout; the layers after it
        are sampled. A sample uses one dropout mask for all texts, so that with a `seed` a text's result does not depend
        on the others; without a seed, torch's global generator is used. The model's state does not change, so that
        threads may share a model in evaluation mode. `use_mc_dropout` defaults to the config's `mc_dropout`.

        Raises Untrained if the heads are untrained, unless `allow_untrained`; ValueError for an invalid number.
        """
        if not (self.trained or allow_untrained):
            raise Untrained(_UNTRAINED)
        if not 1 <= top_k <= len(self.symptom_graph.labels) or num_mc_samples < 1:
            raise ValueError(f"top_k must be 1 to {len(self.symptom_graph.labels)} and num_mc_samples 1 or more")
        texts = _check_texts(complaints)
        if not texts:
            return []
        evidence = [find_symptoms(text) for text in texts]
        tokens, truncated = self._tokenize(texts)
        sampled = self.config.mc_dropout if use_mc_dropout is None else use_mc_dropout
        masks = self.fusion.masks(num_mc_samples, seed) if sampled else None
        with evaluating(self), torch.inference_mode():
            samples = self._samples(tokens, evidence, masks)  # [M, B, K]
        return diagnoses(
            samples,
            self.symptom_graph.labels,
            evidence,
            truncated,
            top_k=top_k,
            interval=self.config.interval,
            abstain_below=self.config.abstain_below,
        )

    def _samples(
        self, tokens: list[list[int]], evidence: list[tuple[Match, ...]], masks: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Return probabilities, [M, B, K] (M is 1 without masks)."""
        # By length: a batch of similar lengths has little padding, which costs as much time as text.
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        parts = []
        for start in range(0, len(order), self.config.batch_size):
            rows = order[start : start + self.config.batch_size]
            features = self._features([tokens[row] for row in rows], [evidence[row] for row in rows])
            logits, _ = self.fusion(features.unsqueeze(0), masks)  # [M, b, K]
            parts.append(logits.float().softmax(-1))
        back = torch.tensor(order).argsort().to(parts[0].device)
        return torch.cat(parts, dim=1)[:, back]

    def features(self, text: Tensor, states: Tensor) -> Tensor:  # [B, W], [B, S] -> [B, D]
        """Return the heads' input, from encoded texts and the states of their symptoms (`symptom_graph.states`)."""
        weight = self.fusion.hidden.weight
        features = [self.norm(text.to(weight.dtype))]  # the encoder may have another dtype than the heads
        if self.graph is not None:
            features.append(self.graph(states.to(weight.device)))  # [B, F + K]
        return torch.cat(features, dim=-1)

    def _features(self, tokens: list[list[int]], evidence: Sequence[tuple[Match, ...]]) -> Tensor:  # [B, D]
        text = mean_pool(self.encoder, tokens, self.tokenizer.pad_token_id or 0)  # [B, W]
        return self.features(text, self.symptom_graph.states(evidence))

    def _tokenize(self, texts: list[str]) -> tuple[list[list[int]], list[bool]]:
        return tokenize(self.encoder, self.tokenizer, texts, self.config.max_length)


def _check_texts(complaints: Sequence[str]) -> list[str]:
    # A text is a sequence of texts too: each letter would become a complaint.
    if isinstance(complaints, str):
        raise TypeError("complaints must be a list of texts, not one text")
    for number, text in enumerate(complaints):
        if not isinstance(text, str):
            raise TypeError(f"complaints[{number}] is of type {type(text).__name__}, not a text")
    return list(complaints)


_UNTRAINED = (
    "the heads are untrained, so any diagnosis would be random: load a trained checkpoint, or train the heads with "
    "phaita.training, which sets `trained_on`; allow_untrained=True returns random diagnoses"
)
