"""Builds replicas: `python -m tests.hub.build FOLDER REPO_ID:SIZE[:LAYERS] ...`, each into a folder of its own.

A process of its own, so that neither torch's global state nor a third party's warnings reach the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from .recipes import STREAMED, Recipe
from .replica_spec import ReplicaSpec
from .streamed import write_shards
from .vocabularies import write_vocabulary

_SEED = 20261
_GITATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in ("bin", "model", "safetensors")
)
_README = """---
license: {license}
---

# {repo_id}: a stand-in

The weights in this repo are random: drawn with a fixed seed, never trained. It has the architecture, the file layout
and a small working tokenizer of the model whose name it bears, and nothing else of it. It exists so that programs
which download and load that model can be tested against a local Hub. Its output means nothing.

Size: {size}.
"""


def build(spec: ReplicaSpec, folder: Path) -> None:
    """Write `older/` and `newer/`, the files of the two commits."""
    recipe, size = spec.recipe, spec.size
    newer, older = folder / "newer", folder / "older"
    newer.mkdir(parents=True)
    vocab_size = write_vocabulary(recipe.vocabulary, newer)
    (newer / ".gitattributes").write_text(_GITATTRIBUTES)
    shutil.copytree(newer, older, copy_function=os.link)
    config = _config(spec, vocab_size)
    if size in STREAMED:
        write_shards(_class(recipe), config, getattr(torch, recipe.dtype), _SEED, newer)
        for file in newer.glob("model*"):
            os.link(file, older / file.name)
    else:
        _write_models(spec, config, newer, older)
    for commit, text in ((newer, _README), (older, _README.split("Size:")[0])):
        (commit / "README.md").write_text(text.format(license=recipe.license, repo_id=recipe.repo_id, size=size))
    _write_config(config, newer)
    config.initializer_range /= 2
    _write_config(config, older)


def _config(spec: ReplicaSpec, vocab_size: int) -> Any:
    recipe = spec.recipe
    values = {**recipe.config, **recipe.sizes[spec.size]}
    values["vocab_size"] = max(recipe.sizes[spec.size]["vocab_size"], vocab_size)
    if spec.layers is not None:
        values["num_hidden_layers"] = spec.layers
    config = transformers.AutoConfig.for_model(recipe.model_type, **values)
    config.architectures = [recipe.architecture]
    config.dtype = recipe.dtype
    return config


def _write_models(spec: ReplicaSpec, config: Any, newer: Path, older: Path) -> None:
    recipe = spec.recipe
    model = _model(recipe, config, _SEED)
    _write_weights(model, recipe.newer, newer)
    if recipe.retrained and spec.size == "tiny":
        _write_weights(_model(recipe, config, _SEED + 1), recipe.older, older)
    else:
        _share_weights(model, recipe, newer, older)


def _model(recipe: Recipe, config: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, recipe.dtype))
    return _class(recipe)(config)


def _class(recipe: Recipe) -> Any:
    return getattr(transformers, recipe.architecture)


def _write_weights(model: Any, formats: tuple[str, ...], folder: Path) -> None:
    if "bin" in formats:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    if {"safetensors", "shards"} & set(formats):
        size = sum(tensor.nbytes for tensor in model.state_dict().values())
        limit = size + 1 if "safetensors" in formats else int(size / 2.5)
        model.save_pretrained(folder, max_shard_size=limit)


def _share_weights(model: Any, recipe: Recipe, newer: Path, older: Path) -> None:
    same = [file for file in newer.iterdir() if _format(file.name) in recipe.older]
    for file in same:
        os.link(file, older / file.name)
    missing = tuple(name for name in recipe.older if name not in {_format(file.name) for file in same})
    _write_weights(model, missing, older)


def _format(name: str) -> str:
    if name.endswith(".index.json") or "-of-" in name:
        return "shards"
    return {"pytorch_model.bin": "bin", "model.safetensors": "safetensors"}.get(name, "")


def _write_config(config: Any, folder: Path) -> None:
    """config.json without what save_pretrained adds on its own."""
    (folder / "config.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_diff_dict(), indent=2, sort_keys=True) + "\n")


def main(root: Path, specs: list[ReplicaSpec]) -> None:
    """Build them all, telling each on stderr."""
    for number, spec in enumerate(specs, 1):
        sys.stderr.write(f"building replica {number} of {len(specs)}: {spec.recipe.repo_id} ({spec.size})\n")
        build(spec, root / spec.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [ReplicaSpec.parse(text) for text in sys.argv[2:]])
