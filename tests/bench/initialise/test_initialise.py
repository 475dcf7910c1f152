"""The time from cached files to a model, by stage and by contender. Equality is asserted, times never.

The seconds are taken in fresh processes or in turn, so pytest-benchmark only gets to see them (see replay.py).
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.device import DEVICE, device_name

from .conftest import chosen
from .contenders import CONTENDERS, THEIRS
from .model_store import ModelStore
from .models import Model
from .plan import contenders, rounds
from .race import moments
from .replay import CLOCK
from .report_html import report_html
from .report_markdown import report_markdown
from .results import MEASURES, Measure, Results
from .same import differences

pytestmark = pytest.mark.torch


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Model by model; each measure by those who take part in its race."""
    models = {model: [pytest.mark.cuda] if model.gib else [] for model in chosen(metafunc.config)}
    if "measure" in metafunc.fixturenames:
        rows = [
            pytest.param(model, measure, name, id=f"{model.name}-{measure.name}-{name}", marks=marks)
            for model, marks in models.items()
            for measure in MEASURES.values()
            if measure.race in rounds(model)
            for name in contenders(model, measure.race, DEVICE)
        ]
        metafunc.parametrize(("model", "measure", "contender"), rows)
    elif "contender" in metafunc.fixturenames:
        rows = [
            pytest.param(model, name, id=f"{model.name}-{name}", marks=marks)
            for model, marks in models.items()
            for name in contenders(model, "repeated", DEVICE)
        ]
        metafunc.parametrize(("model", "contender"), rows)
    elif "model" in metafunc.fixturenames:
        metafunc.parametrize(
            "model", [pytest.param(model, id=model.name, marks=marks) for model, marks in models.items()]
        )


@pytest.mark.benchmark(timer=CLOCK)
def test_time(
    benchmark: BenchmarkFixture, possible: Model, measure: Measure, contender: str, store: ModelStore, results: Results
) -> None:
    """Every round, into pytest-benchmark's table."""
    runs = store.races(possible, measure.race)[contender]
    benchmark.group = f"{measure.title}: {possible.name} on {DEVICE}"
    benchmark.extra_info["path"] = runs[-1].how
    CLOCK.replay(benchmark, results.seconds(possible.name, measure.name, contender))


def test_memory(possible: Model, store: ModelStore, results: Results) -> None:
    """There is a figure of every moment, and more memory is held after a touch than before."""
    if "first" not in rounds(possible):
        pytest.skip("memory is measured in first loads, and this model takes no part in them")
    for contender in store.races(possible, "first"):
        memory = results.memory(possible.name, contender)
        assert list(memory) == ["load", *moments(store.spec(possible), contender)]
        if DEVICE == "cpu":
            assert memory["load"]["VmHWM"] <= memory["touch"]["VmHWM"]
            assert memory["touch"]["PSS"] > 0.9 * results.sizes[possible.name]


def test_same(possible: Model, contender: str, store: ModelStore) -> None:
    """Parameters, buffers, tying and a forward: bit by bit what `from_pretrained` gives."""
    spec = store.spec(possible)
    expected, found = (CONTENDERS[name](spec, lambda _: None).model for name in (THEIRS, contender))
    assert differences(found, expected) == []


def test_report(results: Results) -> None:
    """The pages name the device and every model, and ask nobody for anything."""
    for text in (report_markdown(results), report_html(results)):
        assert device_name() in text
        assert all(model in text for model in results.models)
        assert "http" not in text
