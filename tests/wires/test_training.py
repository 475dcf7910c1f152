"""`python -m phaita.training` as a user runs it: an encoder from the local Hub, a checkpoint and a report on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment import same_environment
from tests.wires.support import Serve

pytestmark = pytest.mark.torch

BERT = "bert-base-uncased"


@pytest.fixture
def command(serve_replicas: Serve, tmp_path: Path) -> Any:
    """Run it in a fresh process whose Hub is the local one."""
    hub = serve_replicas(BERT)
    environment = same_environment(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "home"))

    def made(*arguments: Any) -> Any:
        whole = [sys.executable, "-m", "phaita.training", "--out", str(tmp_path / "out"), *arguments]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False, timeout=300)

    return made


def test_it_trains_evaluates_and_writes_a_checkpoint(command: Any, tmp_path: Path) -> None:
    quick = ["--encoder", BERT, "--evaluate", "--samples", "2", "--epochs", "1", "--seeds", "5", "6"]
    done = command(*quick)
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stderr  # no bar where there is no terminal
    out = tmp_path / "out"
    page = (out / "report.md").read_text(encoding="utf-8")
    assert page in done.stdout
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["encoder"], report["seeds"]) == (BERT, [5, 6])

    model = import_module("phaita.models.discriminator").DiagnosisDiscriminator.from_pretrained(out / "checkpoint")
    assert model.trained
    assert model.config.encoder == BERT
    assert len(model.config.revision) == 40
    assert "Training seed: 5." in (out / "checkpoint" / "README.md").read_text(encoding="utf-8")
    (ranked,) = model.predict_diagnosis(["I'm wheezing and my chest is tight"], top_k=3)
    assert len(ranked) == 3


def test_an_encoder_that_is_not_there_is_a_sentence(command: Any, tmp_path: Path) -> None:
    done = command("--encoder", "org/none", "--samples", "2")
    assert done.returncode == 1
    assert "phaita.training: " in done.stderr
    assert "org/none" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
