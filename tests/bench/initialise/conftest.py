"""The store of models, and the report that a session leaves."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.bench.about import about
from tests.bench.device import DEVICE, device_name
from tests.bench.fetch.origin import Origin

from .contenders import missing
from .model_store import ModelStore
from .models import MODELS, Model
from .report_html import report_html
from .report_markdown import report_markdown, terminal
from .results import Results

_ROOT = Path(__file__).parents[3]
_RESULTS = pytest.StashKey[Results]()
_PACKAGES = ("phaita-loader", "torch", "transformers", "safetensors", "huggingface_hub")


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    """The results that collect the figures."""
    notes = [f"{name}: not installed" for name in missing()]
    fresh = Results(device_name(), about(request.config, _PACKAGES), notes=notes)
    return request.config.stash.setdefault(_RESULTS, fresh)


@pytest.fixture(scope="session")
def store(origin: Origin, results: Results, request: pytest.FixtureRequest) -> ModelStore:
    """Models in a cache beside the origin's files, removed with them."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # it tells of weights that a checkpoint has and a model has not, at every load
    logging.disable_progress_bar()
    return ModelStore(origin.folder.parent / "hub", origin, results, request.config.getoption("rounds"))


@pytest.fixture
def possible(model: Model, results: Results) -> Model:
    """The model; where it can't be loaded its test is skipped, and the report says why."""
    if reason := _impossible(model):
        note = f"{model.name}: not measured, it {reason}"
        results.notes += [] if note in results.notes else [note]
        pytest.skip(reason)
    return model


def chosen(config: pytest.Config) -> list[Model]:
    """The models that the caller wants."""
    return [MODELS[name] for name in config.getoption("models")]


def _impossible(model: Model) -> str:
    if model.gib and (DEVICE == "cpu" or torch.cuda.mem_get_info()[0] < model.gib << 30):
        return f"needs a CUDA device with {model.gib} GiB free"
    if model.four_bit and not all(map(find_spec, ("accelerate", "bitsandbytes"))):
        return "needs accelerate and bitsandbytes"
    return ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The must-reach table, and the report on disk."""
    results = config.stash.get(_RESULTS, None)
    if results is None or not results.races:
        return
    folder = _ROOT / "reports"
    folder.mkdir(exist_ok=True)
    (folder / "bench.md").write_text(report_markdown(results), encoding="utf-8")
    (folder / "bench.html").write_text(report_html(results), encoding="utf-8")
    (folder / "bench.json").write_text(json.dumps(results.content(), indent=2) + "\n", encoding="utf-8")
    terminalreporter.section("initialise")
    for line in (*terminal(results), "report: reports/bench.md, reports/bench.html, reports/bench.json"):
        terminalreporter.write_line(line)
