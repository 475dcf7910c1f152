"""The layouts of weight files in a repo, in the order in which transformers looks for them."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["WEIGHT_FILES", "first_layout", "is_weight_file"]

# By the file that transformers looks for, in its order: the pattern of all files that belong to it. One layout is
# enough, and the first one present wins: safetensors before pickles, whole before sharded, a model before an adapter.
_LAYOUTS = {
    "model.safetensors": re.compile(r"model\.safetensors"),
    "model.safetensors.index.json": re.compile(r"model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json"),
    "pytorch_model.bin": re.compile(r"pytorch_model\.bin"),
    "pytorch_model.bin.index.json": re.compile(r"pytorch_model-\d+-of-\d+\.bin|pytorch_model\.bin\.index\.json"),
    "adapter_model.safetensors": re.compile(r"adapter_model\.safetensors"),
    "adapter_model.bin": re.compile(r"adapter_model\.bin"),
}

WEIGHT_FILES = tuple(name for name in _LAYOUTS if not name.startswith("adapter_"))
"""The files that transformers looks for when it loads a model's weights, in its order: the first present is loaded."""


def first_layout(paths: Sequence[str]) -> list[str]:
    """Return the weight files of the first layout that a repo has; empty where it has none."""
    for layout in _LAYOUTS.values():
        found = [path for path in paths if layout.fullmatch(path)]
        # An index without shards is left over from another layout and has no weights.
        if any(not path.endswith(".json") for path in found):
            return found
    return []


def is_weight_file(path: str) -> bool:
    """True if the path belongs to a layout of weight files, the index included."""
    return any(layout.fullmatch(path) for layout in _LAYOUTS.values())
