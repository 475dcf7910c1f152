"""The order of weight files is the same for what is fetched and for what is loaded."""

from __future__ import annotations

from itertools import combinations

import pytest

from phaita_loader._weight_layouts import WEIGHT_FILES
from phaita_loader.request import ModelRequest, needed

# An index alone is left over from another layout: it counts with a shard beside it.
SHARDS = {
    "model.safetensors.index.json": ["model-00001-of-00001.safetensors"],
    "pytorch_model.bin.index.json": ["pytorch_model-00001-of-00001.bin"],
}


def family(name: str) -> list[str]:
    return [name, *SHARDS.get(name, [])]


@pytest.mark.parametrize(("first", "later"), list(combinations(WEIGHT_FILES, 2)))
def test_the_first_that_would_be_loaded_is_fetched(first: str, later: str) -> None:
    paths = [*family(first), *family(later)]
    assert needed(ModelRequest("org/name"), paths) == tuple(sorted(family(first)))
