"""The replicas load with the unmodified transformers, through HF_ENDPOINT, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hub import LocalHub, Repo, Seen
from tests.hub.recipes import MINILM, RECIPES
from tests.hub.replica_spec import ReplicaSpec
from tests.hub.replicas import REPLICAS, replica

ROOT = Path(__file__).resolve().parents[2]
DEBERTA, MISTRAL = "microsoft/deberta-v3-base", "mistralai/Mistral-7B-Instruct-v0.2"
CLINICAL = "emilyalsentzer/Bio_ClinicalBERT"
TEXT = "The patient reports acute shortness of breath."
CASES = [
    (DEBERTA, "AutoModelForMaskedLM", "main"),
    (DEBERTA, "AutoModel", "v1"),
    (MISTRAL, "AutoModelForCausalLM", "main"),
    ("bert-base-uncased", "AutoModel", "main"),
    ("gpt2", "AutoModelForCausalLM", "main"),
    (CLINICAL, "AutoModel", "main"),
    (MINILM, "AutoModel", "main"),
]
LOAD = f"""
import json, sys, transformers

def load(name, kind, revision):
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision)
    model = getattr(transformers, kind).from_pretrained(name, revision=revision)
    batch = tokenizer({TEXT!r}, return_tensors="pt")
    ids = batch["input_ids"][0]
    messages = [{{"role": "user", "content": "Hi"}}]
    return {{
        "ids": ids.tolist(),
        "unk": tokenizer.unk_token_id,
        "text": tokenizer.decode(ids, skip_special_tokens=True),
        "chat": tokenizer.apply_chat_template(messages, tokenize=False) if tokenizer.chat_template else None,
        "finite": bool(model(**batch)[0].isfinite().all()),
        "tokens": len(tokenizer),
        "rows": model.get_input_embeddings().num_embeddings,
    }}

print(json.dumps([load(*case) for case in json.loads(sys.argv[1])]))
"""

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def repos() -> dict[str, Repo]:
    return {name: replica(name) for name in REPLICAS}


@pytest.fixture(scope="module")
def running(repos: Mapping[str, Repo]) -> Iterator[LocalHub]:
    with LocalHub(repos.values()) as hub:
        yield hub


@dataclass(frozen=True)
class Loads:
    """The findings and the requests of a process that loaded every replica."""

    results: Mapping[tuple[str, str, str], Any]
    seen: tuple[Seen, ...]


@pytest.fixture(scope="module")
def loads(running: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Loads:
    home = tmp_path_factory.mktemp("hf_home")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    env = {**kept, "HF_ENDPOINT": running.url, "HF_HOME": str(home), "DISABLE_SAFETENSORS_CONVERSION": "1"}
    running.clear()
    command = [sys.executable, "-c", LOAD, json.dumps(CASES)]
    done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return Loads(dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True)), running.seen)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_transformers_loads_it(loads: Loads, case: tuple[str, str, str]) -> None:
    loaded = loads.results[case]
    assert loaded["finite"]
    assert len(loaded["ids"]) > 5
    assert loaded["unk"] not in loaded["ids"]
    assert max(loaded["ids"]) < loaded["tokens"] <= loaded["rows"]
    assert loaded["text"].replace(" ", "").lower() == TEXT.replace(" ", "").lower()


def test_the_chat_template_speaks(loads: Loads) -> None:
    assert loads.results[CASES[2]]["chat"] == "<s>[INST] Hi [/INST]"


def test_weights_come_from_the_cdn_and_nothing_is_refused(loads: Loads, repos: Mapping[str, Repo]) -> None:
    assert {name for name in repos if any(f"/repos/{name}/" in seen.path for seen in loads.seen)} == set(REPLICAS)
    # transformers asks for files that a model need not have.
    refused = [seen for seen in loads.seen if seen.status >= 400]
    assert {seen.status for seen in refused} == {404}
    assert [seen for seen in refused if "/resolve/" not in seen.path and "/tree/" not in seen.path] == []


@pytest.mark.parametrize("name", REPLICAS)
def test_each_is_a_repo_of_two_commits_that_says_what_it_is(repos: Mapping[str, Repo], name: str) -> None:
    repo = repos[name]
    older, newer = repo.snapshots
    assert older.sha != newer.sha
    readme = newer.files["README.md"].read().decode()
    assert ("weights in this repo are random" in readme) is (name != MINILM)
    assert ("its weights are real" in readme) is (name == MINILM)
    assert newer.files["README.md"].oid != older.files["README.md"].oid
    assert repo.size() < 2_000_000 or name == MINILM


def test_deberta_has_bin_first_and_safetensors_later(repos: Mapping[str, Repo]) -> None:
    older, newer = (set(snapshot.files) for snapshot in repos[DEBERTA].snapshots)
    assert older - newer == {"pytorch_model.bin"}
    assert newer - older == {"model.safetensors"}
    assert repos[DEBERTA].files()["model.safetensors"].sha256 is not None
    assert repos[DEBERTA].snapshot("v1") == repos[DEBERTA].snapshots[0]


def test_mistral_is_sharded(repos: Mapping[str, Repo]) -> None:
    files = repos[MISTRAL].files()
    index = json.loads(files["model.safetensors.index.json"].read())
    shards = set(index["weight_map"].values())
    assert len(shards) >= 3
    assert shards == {path for path in files if path.endswith(".safetensors")}


def test_a_retrained_model_has_other_weights_under_the_same_names(repos: Mapping[str, Repo]) -> None:
    for name in (MISTRAL, CLINICAL):
        older, newer = (snapshot.files for snapshot in repos[name].snapshots)
        weights = [path for path in newer if path.endswith((".bin", ".safetensors"))]
        assert weights
        assert all(older[path].digest != newer[path].digest for path in weights)


def test_medium_is_what_the_fault_matrix_counts_on() -> None:
    assert 60e6 < replica(DEBERTA, "medium").size() < 62e6


def test_the_same_tokenizers_come_out_of_every_build(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from tests.hub.vocabularies import write_vocabulary\n"
        "for kind in ('bert', 'clinical', 'deberta', 'gpt2'):\n"
        "    folder = pathlib.Path(sys.argv[1], kind); folder.mkdir(parents=True); write_vocabulary(kind, folder)"
    )
    for run in ("one", "two"):
        command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / run)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    one, two = (
        {path.relative_to(tmp_path / run): path.read_bytes() for path in (tmp_path / run).rglob("*") if path.is_file()}
        for run in ("one", "two")
    )
    assert len(one) == 10
    assert one == two


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="no replica of 'gpt5'; there are bert-base-uncased, "):
        replica("gpt5")
    with pytest.raises(ValueError, match="no size 'medium' of gpt2; there are tiny, real"):
        replica("gpt2", "medium")
    for name, layers in (("gpt2", 2), (MISTRAL, 0)):
        with pytest.raises(ValueError, match="layers is positive"):
            replica(name, "real", layers=layers)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHAITA_REPLICAS", str(tmp_path))
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="building gpt2:real failed"):
        replica("gpt2", "real")
    assert [path for path in tmp_path.rglob("*") if path.parent != tmp_path] == []


def test_a_job_survives_the_command_line() -> None:
    for spec in (ReplicaSpec(RECIPES["gpt2"], "tiny"), ReplicaSpec(RECIPES[MISTRAL], "real", 2)):
        assert ReplicaSpec.parse(str(spec)) == spec
