"""The gain from batches: the realism of 64 complaints at once, beside one call a complaint.

Tiny models show what a call costs, models of true size what computing does: a batch spares the first, not the second.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from phaita.models.presentation import SymptomGenerator
from phaita.models.realism import RealismScorer
from phaita.models.templates import TemplateComplaintGenerator
from phaita_loader import Hub
from tests.bench.device import DEVICE, synchronise
from tests.hub import LocalHub
from tests.hub.replicas import replica

ENCODER = "bert-base-uncased"
ROUNDS = {"tiny": 5, "real": 1 if DEVICE == "cpu" else 5}  # on a CPU one of the latter takes half a minute and more


def complaints(number: int) -> list[str]:
    """Of patients of all conditions; the same ones every time."""
    rng, symptoms = random.Random(64), SymptomGenerator()
    people = [symptoms.generate_symptoms(severity="moderate", rng=rng) for _ in range(number)]
    return TemplateComplaintGenerator().generate_complaints(people, seed=64)


COMPLAINTS = complaints(64)


@pytest.fixture(scope="module", params=["tiny", "real"])
def size(request: pytest.FixtureRequest) -> str:
    """Of the replicas."""
    return str(request.param)


@pytest.fixture(scope="module")
def scorer(size: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealismScorer]:
    """bert-base and gpt2, with random weights, which cost as much."""
    with LocalHub([replica(ENCODER, size), replica("gpt2", size)]) as hub:
        at = Hub(hub.url, cache_dir=tmp_path_factory.mktemp("cache"))
        yield RealismScorer.from_pretrained([ENCODER], hub=at, device=DEVICE)


@pytest.fixture(scope="module")
def expected(scorer: RealismScorer) -> torch.Tensor:
    """The scores, one by one, which also warms up."""
    return one_by_one(scorer)


def together(scorer: RealismScorer) -> torch.Tensor:
    """One call."""
    return scorer.compute_realism_score(COMPLAINTS)


def one_by_one(scorer: RealismScorer) -> torch.Tensor:
    """A call for each."""
    return torch.cat([scorer.compute_realism_score([text]) for text in COMPLAINTS])


CONTENDERS = (together, one_by_one)


@pytest.mark.torch
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.__name__)
def test_realism(
    benchmark: BenchmarkFixture,
    contender: Callable[[RealismScorer], torch.Tensor],
    scorer: RealismScorer,
    size: str,
    expected: torch.Tensor,
) -> None:
    """Times the call, then proves that the scores are the same."""
    benchmark.group = f"realism of 64 complaints, {size} models on {DEVICE}"
    scores = benchmark.pedantic(_timed, args=(contender, scorer), rounds=ROUNDS[size])
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def _timed(contender: Callable[[RealismScorer], torch.Tensor], scorer: RealismScorer) -> torch.Tensor:
    synchronise()
    scores = contender(scorer)
    synchronise()
    return scores
