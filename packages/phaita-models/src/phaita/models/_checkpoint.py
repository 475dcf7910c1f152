"""Write and read a discriminator as files: weights in safetensors, the rest as JSON, and no other repo is needed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict

from phaita._read import validate
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models._encoder import rebuild_encoder
from phaita.models._graph import SymptomGraph
from phaita_loader import InitialisationError
from phaita_loader.initialise import TURN

__all__ = ["Checkpoint", "TrainingRecord", "is_checkpoint", "read", "read_encoder", "read_weights", "write"]

C = TypeVar("C")

_DESCRIPTION = "phaita_config.json"
_WEIGHTS = "model.safetensors"
_FORMAT = 1
_ENCODER = "encoder."
_REFETCH_HINT = "fetch it again, or save it again with save_pretrained"


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """A description of the training data in a sentence or two, and figures by name, measured on held-out data."""

    data: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Generic[C]):
    """The contents of `phaita_config.json`.

    config: the model's config. encoder: the text encoder's, as transformers writes it. trained_on: None for untrained
    heads. phaita: the version of phaita-models that wrote the file. format: the version of the file format.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    config: C
    encoder: dict[str, Any]
    graph: SymptomGraph
    trained_on: TrainingRecord | None
    phaita: str = field(default_factory=lambda: version("phaita-models"))
    format: int = _FORMAT


def is_checkpoint(folder: Path) -> bool:
    """True if the folder holds a discriminator, and not only an encoder."""
    return (folder / _DESCRIPTION).is_file()


def write(folder: Path, checkpoint: Checkpoint[Any], model: Any, tokenizer: Any, card: str) -> None:
    """Write all files aside, then move them in, so that open or mapped files stay intact. Raises OSError."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as scratch:
        fresh = Path(scratch)
        save_model(model, str(fresh / _WEIGHTS), metadata={"format": "pt"})
        tokenizer.save_pretrained(fresh)
        (fresh / "README.md").write_text(card, encoding="utf-8")
        description = json.dumps(asdict(checkpoint), indent=2, allow_nan=False)
        (fresh / _DESCRIPTION).write_text(f"{description}\n", encoding="utf-8")
        # The description comes last: a folder that has it counts as a checkpoint.
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == _DESCRIPTION):
            path.replace(folder / path.name)


def read(folder: Path, kind: type[Checkpoint[C]]) -> Checkpoint[C]:
    """Read the description in a folder. Raises InitialisationError if this version can't build the model."""
    path = folder / _DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _refuse_newer(path, content)
        checkpoint = validate(path, content, kind)
    except (OSError, RecursionError, ValueError) as error:  # InvalidFile is a ValueError
        raise InitialisationError(
            f"{path} is not the description of a discriminator: {error}", hint=_REFETCH_HINT
        ) from error
    _refuse_other_graph(path, checkpoint)
    return checkpoint


def _refuse_newer(path: Path, content: Any) -> None:
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > _FORMAT:
        cause = f"{path} has format {written}; phaita-models {version('phaita-models')} reads up to {_FORMAT}"
        raise InitialisationError(cause, hint="pip install --upgrade phaita-models")


def _refuse_other_graph(path: Path, checkpoint: Checkpoint[Any]) -> None:
    """Raise InitialisationError unless the labels are this version's conditions and its lexicon has all the symptoms.

    The lexicon may have gained symptoms since the checkpoint was written.
    """
    codes, known = list(checkpoint.graph.labels), list(RespiratoryConditions.get_all_conditions())
    hint = f"train a new discriminator, or install phaita-models {checkpoint.phaita}, which wrote it"
    if codes != known:
        raise InitialisationError(
            f"{path} has the labels {', '.join(codes)}; the conditions are {', '.join(known)}", hint=hint
        )
    if unknown := [symptom for symptom in checkpoint.graph.symptoms if symptom not in lexicon()]:
        raise InitialisationError(f"{path} has symptoms that are not in the lexicon: {', '.join(unknown)}", hint=hint)


def read_encoder(folder: Path, checkpoint: Checkpoint[Any]) -> tuple[Any, Any]:
    """Build the encoder and its tokenizer from the folder alone. Raises InitialisationError."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    with _building(folder):
        weights = load_file(folder / _WEIGHTS).items()
        own = {name.removeprefix(_ENCODER): one for name, one in weights if name.startswith(_ENCODER)}
        encoder = rebuild_encoder(checkpoint.encoder, own)
        return encoder, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read_weights(folder: Path, model: Any) -> None:
    """Load all weights of a folder into a model of the saved config. Raises InitialisationError."""
    from safetensors.torch import load_file, load_model

    with _building(folder):
        weights = load_file(folder / _WEIGHTS).items()
        for name, part in model.named_children():
            if f"{name}." != _ENCODER:  # it has its dtype already
                part.to(next(one.dtype for key, one in weights if key.startswith(f"{name}.")))
        load_model(model, folder / _WEIGHTS)


@contextmanager
def _building(folder: Path) -> Iterator[None]:
    try:
        # transformers keeps process-wide state while it builds, so this takes turns with the loader's own loads.
        with TURN:
            yield
    except Exception as error:  # transformers, torch and safetensors each have errors of their own
        cause = f"can't build a discriminator from {folder}: {type(error).__name__}: {error}"
        raise InitialisationError(cause, hint=_REFETCH_HINT) from error
