"""The settings and their defaults, as frozen values that are written to YAML and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from phaita._read import read_text, validate
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.errors import InvalidFile

__all__ = ["Config", "DataConfig", "ModelConfig", "TrainingConfig"]

# strict: True is an int to Python, and a mistake here.
Count = Annotated[int, Field(ge=1, strict=True)]
Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(_Section):
    """The models and their sizes. Raises ValueError for invalid values.

    deberta_model: repo of the discriminator's text encoder. mistral_model: repo of the complaint generator.
    use_quantization: 4-bit weights for the generator where CUDA and bitsandbytes are available.
    realism_encoders: repos of the realism scorer's encoder, in the order in which they are tried.
    perplexity_model: repo of the language model that judges fluency.
    max_length: tokens of a complaint that the discriminator's encoder reads; the rest is truncated.
    dropout: share of the discriminator's units that training and Monte Carlo dropout set to 0.
    mc_dropout: True estimates the uncertainty of a diagnosis by Monte Carlo dropout; a call can override it.
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
    def _check_heads_divide_width(self) -> Self:
        if self.gnn_hidden % self.gnn_heads:
            raise ValueError(f"gnn_heads ({self.gnn_heads}) must divide gnn_hidden ({self.gnn_hidden})")
        return self


class TrainingConfig(_Section):
    """The settings of the discriminator's training. Raises ValueError for invalid values.

    num_epochs: maximum passes over the complaints. patience: passes without an improvement after which it stops.
    batch_size: complaints per step. weight_decay: of AdamW.
    learning_rate: of the text encoder, where it is trained. head_learning_rate: of all other parts.
    evidence_dropout: share of texts whose symptoms are found with a lexicon that lacks most wordings, so that training
        relies on the encoder as well.
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
    """The training data. Raises ValueError for invalid values.

    num_respiratory_conditions: must equal the number in the data, so that a configuration fits its labels.
    samples_per_condition: presentations drawn of each condition.
    """

    num_respiratory_conditions: Count = 10
    samples_per_condition: Count = 200

    @field_validator("num_respiratory_conditions")
    @classmethod
    def _check_number_of_conditions(cls, number: int) -> int:
        known = len(RespiratoryConditions.get_all_conditions())
        if number != known:
            raise ValueError(f"the data has {known} conditions, not {number}")
        return number


class Config(_Section):
    """All settings. `Config(training=TrainingConfig(num_epochs=3))` keeps the other defaults."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    data: DataConfig = Field(default_factory=DataConfig)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read settings from a file; a missing key has its default. Raises InvalidFile, which names file and key."""
        path = Path(path)
        try:
            content = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise InvalidFile(f"{path}: not YAML: {error}") from error
        return validate(path, {} if content is None else content, cls)

    def to_yaml(self, path: str | Path) -> None:
        """Write every setting to a file, which `from_yaml` reads back as an equal value. Raises OSError."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)  # in the order of the fields
        Path(path).write_text(text, encoding="utf-8")
