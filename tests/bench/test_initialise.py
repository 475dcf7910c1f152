"""How long from cached files to a model on its device, for one model, compared with plain transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from phaita_loader import Hub, ModelRequest, Snapshot, load
from tests.bench.conftest import DEVICE, synchronise

ROUNDS = 7
WARM_UP = 1  # the first load also imports the model's module


def from_pretrained(snapshot: Snapshot, offline: Hub) -> Any:
    """transformers on the cached folder, with its defaults."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(snapshot.path, local_files_only=True).to(DEVICE)


def phaita_loader(snapshot: Snapshot, offline: Hub) -> Any:
    """This loader on the same cache: looks the snapshot up, checks it, builds the model."""
    request = ModelRequest("microsoft/deberta-v3-base", revision=snapshot.commit, device=DEVICE)
    return load(request, hub=offline, tokenizer=False).model


CONTENDERS = (from_pretrained, phaita_loader)


@pytest.fixture(params=CONTENDERS, ids=lambda contender: contender.__name__)
def contender(request: pytest.FixtureRequest) -> Callable[[Snapshot, Hub], Any]:
    """One way to build the model."""
    return request.param


@pytest.mark.torch
@pytest.mark.benchmark(group=f"deberta-v3-base to {DEVICE}, warm cache")
def test_load(
    benchmark: BenchmarkFixture, contender: Callable[[Snapshot, Hub], Any], snapshot: Snapshot, offline: Hub
) -> None:
    """Times the call, then proves that it built the same model as plain transformers."""
    model = benchmark.pedantic(_timed, args=(contender, snapshot, offline), rounds=ROUNDS, warmup_rounds=WARM_UP)
    expected = from_pretrained(snapshot, offline).state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert not model.training


def _timed(contender: Callable[[Snapshot, Hub], Any], snapshot: Snapshot, offline: Hub) -> Any:
    synchronise()
    model = contender(snapshot, offline)
    synchronise()
    return model
