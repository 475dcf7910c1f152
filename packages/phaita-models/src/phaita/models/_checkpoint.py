"""A discriminator as files: weights in safetensors, all else as JSON; enough to build it again without another repo."""

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

from phaita._read import checked
from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models._encoder import rebuilt_encoder
from phaita.models._graph import SymptomGraph
from phaita_loader import InitialisationError
from phaita_loader.initialise import TURN

__all__ = ["Checkpoint", "TrainingRecord", "is_checkpoint", "read", "read_encoder", "read_weights", "write"]

C = TypeVar("C")

_DESCRIPTION = "phaita_config.json"
_WEIGHTS = "model.safetensors"
_FORMAT = 1
_ENCODER = "encoder."
_AGAIN = "fetch it again, or save it again by save_pretrained"


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What a discriminator learned from: `data` in a sentence or two, `figures` by name, measured on held-out data."""

    data: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Generic[C]):
    """What `phaita_config.json` says.

    config: the model's. encoder: the text encoder's, as transformers writes it. trained_on: None where the heads are
    untrained. phaita: the version of this package that wrote it. format: of the file.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    config: C
    encoder: dict[str, Any]
    graph: SymptomGraph
    trained_on: TrainingRecord | None
    phaita: str = field(default_factory=lambda: version("phaita-models"))
    format: int = _FORMAT


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a discriminator, and not an encoder alone."""
    return (folder / _DESCRIPTION).is_file()


def write(folder: Path, checkpoint: Checkpoint[Any], model: Any, tokenizer: Any, card: str) -> None:
    """Write all files aside, then move them in: what is read or mapped there meanwhile stays whole. Raises OSError."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as scratch:
        fresh = Path(scratch)
        save_model(model, str(fresh / _WEIGHTS), metadata={"format": "pt"})
        tokenizer.save_pretrained(fresh)
        (fresh / "README.md").write_text(card, encoding="utf-8")
        description = json.dumps(asdict(checkpoint), indent=2, allow_nan=False)
        (fresh / _DESCRIPTION).write_text(f"{description}\n", encoding="utf-8")
        # The description comes last, as it makes the folder a checkpoint.
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == _DESCRIPTION):
            path.replace(folder / path.name)


def read(folder: Path, kind: type[Checkpoint[C]]) -> Checkpoint[C]:
    """The description in a folder. Raises InitialisationError where this package can't build what it describes."""
    path = folder / _DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _refuse_newer(path, content)
        checkpoint = checked(path, content, kind)
    except (OSError, RecursionError, ValueError) as error:  # InvalidFile is a ValueError
        raise InitialisationError(f"{path} describes no discriminator: {error}", hint=_AGAIN) from error
    _refuse_other_graph(path, checkpoint)
    return checkpoint


def _refuse_newer(path: Path, content: Any) -> None:
    form = content.get("format") if isinstance(content, dict) else None
    if isinstance(form, int) and form > _FORMAT:
        cause = f"{path} has format {form}; phaita-models {version('phaita-models')} reads up to {_FORMAT}"
        raise InitialisationError(cause, hint="pip install --upgrade phaita-models")


def _refuse_other_graph(path: Path, checkpoint: Checkpoint[Any]) -> None:
    """Answers are read by today's conditions and lexicon; symptoms that came after the checkpoint do no harm."""
    codes, known = list(checkpoint.graph.labels), list(RespiratoryConditions.get_all_conditions())
    hint = f"train a discriminator anew, or install phaita-models {checkpoint.phaita}, which wrote it"
    if codes != known:
        raise InitialisationError(f"{path} labels {', '.join(codes)}; the conditions are {', '.join(known)}", hint=hint)
    if lost := [symptom for symptom in checkpoint.graph.symptoms if symptom not in lexicon()]:
        raise InitialisationError(f"{path} knows symptoms that are not in the lexicon: {', '.join(lost)}", hint=hint)


def read_encoder(folder: Path, checkpoint: Checkpoint[Any]) -> tuple[Any, Any]:
    """The encoder with its weights, and its tokenizer, from the folder alone. Raises InitialisationError."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    with _building(folder):
        weights = load_file(folder / _WEIGHTS).items()
        own = {name.removeprefix(_ENCODER): one for name, one in weights if name.startswith(_ENCODER)}
        encoder = rebuilt_encoder(checkpoint.encoder, own)
        return encoder, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read_weights(folder: Path, model: Any) -> None:
    """All weights of a folder into a model built like the one that was saved. Raises InitialisationError."""
    from safetensors.torch import load_file, load_model

    with _building(folder):
        weights = load_file(folder / _WEIGHTS).items()
        for name, part in model.named_children():
            if f"{name}." != _ENCODER:  # which has its own dtype already
                part.to(next(one.dtype for key, one in weights if key.startswith(f"{name}.")))
        load_model(model, folder / _WEIGHTS)


@contextmanager
def _building(folder: Path) -> Iterator[None]:
    try:
        with TURN:
            yield
    except Exception as error:  # transformers, torch and safetensors each have errors of their own
        cause = f"no discriminator can be built from {folder}: {type(error).__name__}: {error}"
        raise InitialisationError(cause, hint=_AGAIN) from error
