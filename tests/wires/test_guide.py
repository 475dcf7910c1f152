"""The documents: whatever code they show is run, against the local Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.hub import Repo
from tests.wires.pages import blocks, command, run
from tests.wires.support import Serve

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "docs/guide.md", "packages/loader/README.md", "packages/phaita-models/README.md"]


@pytest.mark.torch
def test_every_block_runs(serve: Serve, tmp_path: Path) -> None:
    """In one process: most of the time goes into importing torch and transformers."""
    replicas = import_module("tests.hub.replicas")
    repos = [replicas.replica(name) for name in replicas.REPLICAS]
    models = {repo.repo_id: repo.commits for repo in repos}
    repos += [Repo("org/name", models["gpt2"]), Repo("org/gated", models["gpt2"], gated=True)]
    environment = {
        **os.environ,
        "HF_ENDPOINT": serve(*repos).url,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
        "TRANSFORMERS_VERBOSITY": "error",
    }
    documents = [ROOT / document for document in DOCUMENTS]
    process = subprocess.run(
        [sys.executable, "-m", "tests.wires.pages", *documents],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    told = [line for line in process.stdout.splitlines() if line.endswith(": ran")]
    assert len(told) == sum(len(list(blocks(path.read_text(encoding="utf-8")))) for path in documents)
    assert all(any(line.startswith(f"{path}, ") for line in told) for path in documents)


@pytest.mark.parametrize("block", ["1 + 1  # 3", "try:\n    1 / 0\nexcept ZeroDivisionError:\n    'a'  # 'b'"])
def test_a_comment_that_is_wrong_fails(block: str) -> None:
    with pytest.raises(AssertionError, match="is not"):
        run(block, {})


@pytest.mark.parametrize("block", ["1 + 1  # 2", "1 + 1  # a number", "x = '  # 3'", "(1,\n 2)  # (1, 2)", "'#'"])
def test_other_comments_do_not(block: str) -> None:
    run(block, {})


def test_a_command_that_fails_fails() -> None:
    with pytest.raises(AssertionError, match="phaita-loader fetch"):
        command("echo hello\nphaita-loader fetch a/b/c  # not a repo")
