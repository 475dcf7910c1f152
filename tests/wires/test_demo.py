"""The loader's example, as `nox -s demo` runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOLD = [
    "gpt2: 0.33 of 0.33 MB are to come",
    "gpt2: 0.00 MB are to come",
    "GPT2LMHeadModel with 0.1 M parameters, without a request",
    "NotCached: org/never-fetched@main: offline mode is on",
    "log: gpt2: listing: attempt 3 of 4 failed: the Hub answered 503; next in 0.4 s",
    "GPT2Tokenizer is there after all",
    "Unreachable: gpt2@main: the Hub answered 503 (4 attempts in ",
    "DeadlineExceeded: gpt2@main: the next attempt would begin after the deadline",
    "log: gpt2: commit and digests come from http://127.0.0.1:",
    "NotFound: org/no-such-repo@main: there is no such repo",
    "NotFound: gpt2@no-such-branch: the repo has no such revision",
    "InitialisationError: gpt2@main: AutoModelForMaskedLM can't be built",
    "ValueError: kind (model_type) must be one of auto",
    "ValueError: attempts (max_retries) must be",
    "Untrained: the heads are untrained",
    "J45.9 Asthma: ",
    "causal_lm: ",
    "template: ",
    "encoder: emilyalsentzer/Bio_ClinicalBERT",
]


@pytest.mark.torch
def test_it_shows_each_part_in_order() -> None:
    command = [sys.executable, "-m", "tests.demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(".*?".join(map(re.escape, TOLD)), done.stdout, re.DOTALL), done.stdout
    assert "Traceback" not in done.stderr
    scores = re.findall(r"^  \w+: (\d\.\d\d)$", done.stdout, re.MULTILINE)
    assert len(scores) == 4
    assert all(0 <= float(score) <= 1 for score in scores)
