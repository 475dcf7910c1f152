"""The cost of Monte Carlo dropout: the diagnosis of 64 complaints by 20 samples, beside 20 whole forwards of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import lexicon
from phaita.models.discriminator import DiagnosisDiscriminator
from phaita_loader import Hub
from tests.bench.device import DEVICE, synchronise
from tests.hub import LocalHub
from tests.hub.replicas import replica

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SAMPLES = 20


def complaints(number: int) -> list[str]:
    """Two to five symptoms of one condition each, in words of patients; the same ones every time."""
    rng = random.Random(64)
    told = []
    for _ in range(number):
        _, condition = RespiratoryConditions.get_random_condition(rng)
        symptoms = rng.sample(condition.symptoms, rng.randint(2, 5))
        told.append("I have " + " and ".join(rng.choice(lexicon()[symptom].phrases) for symptom in symptoms))
    return told


COMPLAINTS = complaints(64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiagnosisDiscriminator]:
    """Around all-MiniLM-L6-v2 with its real weights; the heads are untrained, which costs as much."""
    with LocalHub([replica(MINILM)]) as hub:
        at = Hub(hub.url, cache_dir=tmp_path_factory.mktemp("cache"))
        yield DiagnosisDiscriminator.from_pretrained(MINILM, hub=at, device=DEVICE)


def predict_diagnosis(model: DiagnosisDiscriminator) -> Any:
    """The encoder once, the samples after it."""
    return model.predict_diagnosis(COMPLAINTS, 10, num_mc_samples=SAMPLES, allow_untrained=True)


def forwards(model: DiagnosisDiscriminator) -> Any:
    """The whole model once a sample, in one batch, with dropout where `predict_diagnosis` has it."""
    model.fusion.train()
    with torch.inference_mode():
        samples = torch.stack([model(COMPLAINTS)["diagnosis_logits"].softmax(-1) for _ in range(SAMPLES)])
    model.fusion.eval()
    return samples.mean(0).tolist()


CONTENDERS = (predict_diagnosis, forwards)


@pytest.mark.torch
@pytest.mark.benchmark(group=f"64 complaints, 20 samples, MiniLM on {DEVICE}")
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.__name__)
def test_samples(
    benchmark: BenchmarkFixture, contender: Callable[[DiagnosisDiscriminator], Any], model: DiagnosisDiscriminator
) -> None:
    """Times the call, then proves that without samples the diagnosis is what a forward says."""
    benchmark.pedantic(_timed, args=(contender, model), rounds=3, warmup_rounds=1)
    with torch.inference_mode():
        expected = model(COMPLAINTS)["diagnosis_logits"].softmax(-1).tolist()
    answers = model.predict_diagnosis(COMPLAINTS, 10, use_mc_dropout=False, allow_untrained=True)
    for row, records in zip(expected, answers, strict=True):
        by_code = {record.code: record.probability for record in records}
        assert [by_code[code] for code in model.symptom_graph.labels] == pytest.approx(row, abs=1e-5)


def _timed(contender: Callable[[DiagnosisDiscriminator], Any], model: DiagnosisDiscriminator) -> Any:
    synchronise()
    answer = contender(model)
    synchronise()
    return answer
