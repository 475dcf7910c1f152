"""What can be set, with its defaults, as frozen values that go to YAML and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from phaita._read import checked, read_text
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.errors import InvalidFile

__all__ = ["Config", "DataConfig", "ModelConfig", "TrainingConfig"]

# True is an int to Python, and no number anyone means.
Count = Annotated[int, Field(ge=1, strict=True)]
Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(_Section):
    """Which models, and how they are built. Raises ValueError on values that can't be meant.

    deberta_model: repo of the discriminator's text encoder. mistral_model: repo of the complaint generator.
    use_quantization: 4-bit weights for the generator where CUDA and bitsandbytes are there.
    realism_encoders: repos of the realism scorer's encoder, in the order in which they are tried.
    perplexity_model: repo of the language model that judges fluency.
    max_length: tokens of a complaint that the discriminator's encoder reads; what is longer is cut.
    dropout: share of the discriminator's units that training, and Monte Carlo dropout, leaves out.
    mc_dropout: whether the uncertainty of a diagnosis is estimated by Monte Carlo dropout, unless the call says.
    gnn_hidden: width of a symptom node over all heads. gnn_heads: attention heads, which divide it.
    """

    deberta_model: Name = "microsoft/deberta-base"
    mistral_model: Name = "mistralai/Mistral-7B-Instruct-v0.2"
    use_quantization: bool = True
    realism_encoders: Annotated[tuple[Name, ...], Field(min_length=1)] = (
        "emilyalsentzer/Bio_ClinicalBERT",
        "dmis-lab/biobert-base-cased-v1.1",
        "bert-base-uncased",
    )
    perplexity_model: Name = "gpt2"
    max_length: Annotated[Count, Field(ge=8)] = 256
    dropout: Share = 0.4
    mc_dropout: bool = True
    gnn_hidden: Count = 64
    gnn_heads: Count = 4

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.gnn_hidden % self.gnn_heads:
            raise ValueError(f"gnn_heads ({self.gnn_heads}) must divide gnn_hidden ({self.gnn_hidden})")
        return self


class TrainingConfig(_Section):
    """How the discriminator is trained. Raises ValueError on values that can't be meant.

    num_epochs: passes over the complaints at most. patience: passes without a gain after which it stops.
    batch_size: complaints a step. weight_decay: of AdamW.
    learning_rate: of the text encoder, where it is trained. head_learning_rate: of all that comes after it.
    evidence_dropout: how often a text's symptoms are found with a lexicon that lacks most of its words, so that the
        encoder is heard as well.
    seed: of samples, order and initial weights.
    """

    num_epochs: Count = 100
    batch_size: Count = 16
    learning_rate: Rate = 2e-5
    head_learning_rate: Rate = 1e-3
    weight_decay: Share = 0.01
    evidence_dropout: Share = 0.25
    patience: Count = 5
    seed: Annotated[int, Field(ge=0, strict=True)] = 42


class DataConfig(_Section):
    """What is trained on. Raises ValueError on values that can't be meant.

    num_respiratory_conditions: must be what the data has, so that a configuration fits its labels.
    samples_per_condition: presentations that are drawn of each condition.
    """

    num_respiratory_conditions: Count = 10
    samples_per_condition: Count = 200

    @field_validator("num_respiratory_conditions")
    @classmethod
    def _as_many_as_there_are(cls, number: int) -> int:
        there = len(RespiratoryConditions.get_all_conditions())
        if number != there:
            raise ValueError(f"the data has {there} conditions, not {number}")
        return number


class Config(_Section):
    """All settings. `Config(training=TrainingConfig(num_epochs=3))` keeps the other defaults."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    data: DataConfig = Field(default_factory=DataConfig)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """The settings of a file; what it leaves out has its default. Raises InvalidFile, which names file and key."""
        path = Path(path)
        try:
            content = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise InvalidFile(f"{path}: not YAML: {error}") from error
        return checked(path, {} if content is None else content, cls)

    def to_yaml(self, path: str | Path) -> None:
        """Write every setting to a file, which `from_yaml` reads back as an equal value. Raises OSError."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        Path(path).write_text(text, encoding="utf-8")
