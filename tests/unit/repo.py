"""Repos with one model, and a second hub on the same cache."""

from __future__ import annotations

import json

from phaita_loader.fetch import Snapshot
from phaita_loader.request import ModelRequest
from tests.unit.fakes import COMMIT, FakeHub, noise, safetensors

REPO = {"config.json": b"{}", "vocab.txt": b"a\nb\n", "model.safetensors": safetensors(noise(20_000))}
SHARDED = {
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": safetensors(noise(100, 1)),
    "model-00002-of-00002.safetensors": safetensors(noise(100, 2)),
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
}
MAIN, PINNED = ModelRequest("org/name"), ModelRequest("org/name", COMMIT)


def content(snapshot: Snapshot) -> dict[str, bytes]:
    return {file.path: (snapshot.path / file.path).read_bytes() for file in snapshot.files}


def quiet(hub: FakeHub) -> FakeHub:
    """Return a new hub on the same cache, with no request recorded."""
    fresh = FakeHub(hub.cache_dir)
    fresh.repo, fresh.commit = dict(hub.repo), hub.commit
    return fresh
