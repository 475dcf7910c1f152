from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita_loader._cache.repo import RepoCache
from phaita_loader.request import KINDS, ModelRequest, may_need, needed

REPO_IDS = ["gpt2", "bert-base-uncased", "microsoft/deberta-v3-base", "mistralai/Mistral-7B-Instruct-v0.2", "a/b_c.d"]
BAD_REPO_IDS = [
    "",
    "/",
    "org/",
    "/name",
    "a/b/c",
    "..",
    "../name",
    "org/..",
    "org/.",
    ".hidden",
    "org/na me",
    "org/name\n",
    "org\\name",
    "C:/name",
    # "--" stands for "/" in the cache's folder names.
    "org/a--b",
    "org/name.git",
    "-flag",
    "org/" + "x" * 97,
    "https://huggingface.co/gpt2",
    "org/ñame",
    None,
    7,
    b"gpt2",
]


@pytest.mark.parametrize("repo_id", REPO_IDS)
def test_repo_ids(repo_id: str) -> None:
    assert ModelRequest(repo_id).repo_id == repo_id


@pytest.mark.parametrize("repo_id", BAD_REPO_IDS, ids=repr)
def test_bad_repo_ids(repo_id: str) -> None:
    with pytest.raises(ValueError, match="repo_id must look like"):
        ModelRequest(repo_id)


ODD_TEXT = st.text(st.sampled_from("ab./\\-_:~%\0\n $"), max_size=12)


@given(ODD_TEXT)
def test_no_accepted_repo_id_leaves_the_cache(repo_id: str) -> None:
    try:
        request = ModelRequest(repo_id)
    except ValueError:
        return
    cache = Path("/cache")
    folder = RepoCache(cache, request.repo_id).folder
    assert folder.parent == cache
    assert folder.name not in {"", ".", ".."}


@given(ODD_TEXT, ODD_TEXT)
def test_no_two_repos_share_a_folder(one: str, other: str) -> None:
    try:
        folders = {RepoCache(Path("/cache"), ModelRequest(name).repo_id).folder for name in (one, other)}
    except ValueError:
        return
    assert len(folders) == len({one, other})


@given(ODD_TEXT)
def test_no_accepted_revision_leaves_the_refs(revision: str) -> None:
    try:
        ModelRequest("gpt2", revision)
    except ValueError:
        return
    refs = Path("/cache/models--gpt2/refs")
    path = refs / revision
    assert ".." not in path.parts
    assert path != refs
    assert path.is_relative_to(refs)


@pytest.mark.parametrize("revision", ["", ".", "..", "/", "/etc", "a//b", "../x", "a/", "a\0", "a\\b", "a:b", None, 3])
def test_bad_revisions(revision: str) -> None:
    with pytest.raises(ValueError, match="revision must be"):
        ModelRequest("gpt2", revision)


@pytest.mark.parametrize(
    ("revision", "pinned"),
    [
        ("main", False),
        ("refs/pr/3", False),
        ("v1.0", False),
        ("c" * 40, True),
        # A shortened or upper-case commit is a name like any other, and asked for again.
        ("c" * 39, False),
        ("C" * 40, False),
    ],
)
def test_pinned(revision: str, pinned: bool) -> None:
    assert ModelRequest("gpt2", revision).pinned is pinned


@pytest.mark.parametrize("kind", ["", "AutoModel", "Tokenizer", None, 1])
def test_an_unknown_kind_lists_the_valid_ones(kind: str) -> None:
    with pytest.raises(ValueError, match="kind") as caught:
        ModelRequest("gpt2", kind=kind)
    assert all(valid in str(caught.value) for valid in KINDS)


def test_a_request_is_a_value() -> None:
    patterns: dict[str, Any] = {"allow_patterns": ["*.json"], "ignore_patterns": "*.md"}
    request = ModelRequest("gpt2", **patterns)
    assert (request.allow_patterns, request.ignore_patterns) == (("*.json",), ("*.md",))
    assert pickle.loads(pickle.dumps(request)) == request
    assert len({request, ModelRequest("gpt2", allow_patterns=("*.json",), ignore_patterns=("*.md",))}) == 1


SAFE, BIN = "model.safetensors", "pytorch_model.bin"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
BIN_SHARDS = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
CONFIG = ["config.json"]
NEEDED = [
    ("auto", [*CONFIG, SAFE], [*CONFIG, SAFE]),
    # Safetensors before pickles, so that no pickle is read where there is a choice.
    ("auto", [*CONFIG, SAFE, BIN], [*CONFIG, SAFE]),
    ("auto", [*CONFIG, BIN], [*CONFIG, BIN]),
    # One precision: the variants of transformers' `variant=` stay where they are.
    ("auto", [*CONFIG, SAFE, "model.fp16.safetensors", "pytorch_model.fp16.bin"], [*CONFIG, SAFE]),
    # One layout is enough: the whole file is the one that transformers looks for first.
    ("causal_lm", [*CONFIG, SAFE, *SHARDS], [*CONFIG, SAFE]),
    ("causal_lm", [*CONFIG, *SHARDS, *BIN_SHARDS], [*CONFIG, *SHARDS]),
    ("masked_lm", [*CONFIG, *BIN_SHARDS], [*CONFIG, *BIN_SHARDS]),
    # An index left over from another layout is no weights.
    ("auto", [*CONFIG, SHARDS[-1], BIN], [*CONFIG, BIN]),
    ("auto", [*CONFIG, SHARDS[-1]], []),
    # What no torch model needs, and what lies in folders.
    (
        "sequence_classification",
        [*CONFIG, SAFE, "model.onnx", "tf_model.h5", "flax_model.msgpack", "model.gguf", "onnx/model.onnx"],
        [*CONFIG, SAFE],
    ),
    ("auto", [SAFE, "README.md", ".gitattributes", "img/a.png", "sub/config.json", "original/params.json"], [SAFE]),
    # Every tokenizer has its own files; all are small.
    (
        "auto",
        [SAFE, "vocab.txt", "merges.txt", "spm.model", "qwen.tiktoken", "additional_chat_templates/tool.jinja"],
        ["additional_chat_templates/tool.jinja", "merges.txt", SAFE, "qwen.tiktoken", "spm.model", "vocab.txt"],
    ),
    ("tokenizer", [*CONFIG, SAFE, "vocab.txt"], [*CONFIG, "vocab.txt"]),
    ("tokenizer", [*CONFIG, *SHARDS, "spiece.model"], [*CONFIG, "spiece.model"]),
    # A repo without one is told from a repo that has no weights.
    ("tokenizer", [*CONFIG, SAFE], []),
    ("auto", [*CONFIG, "vocab.txt"], []),
    ("config", [*CONFIG, SAFE, "vocab.txt"], CONFIG),
    ("config", [SAFE], []),
    # An adapter is loaded by the same classes.
    (
        "causal_lm",
        ["adapter_config.json", "adapter_model.safetensors"],
        ["adapter_config.json", "adapter_model.safetensors"],
    ),
    ("auto", [], []),
]


@pytest.mark.parametrize(("kind", "paths", "chosen"), NEEDED)
def test_needed(kind: str, paths: list[str], chosen: list[str]) -> None:
    assert list(needed(ModelRequest("org/name", kind=kind), reversed(paths))) == sorted(chosen)


@pytest.mark.parametrize("kind", ["auto", "config"])
def test_the_repos_code_comes_only_when_it_is_trusted(kind: str) -> None:
    paths = ["config.json", "model.safetensors", "modeling_x.py", "sub/ops.py"]
    code = {path for path in paths if path.endswith(".py")}
    assert not code & set(needed(ModelRequest("org/name", kind=kind), paths))
    assert code <= set(needed(ModelRequest("org/name", kind=kind, trust_remote_code=True), paths))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trust", [False, True])
def test_what_is_needed_may_be_needed(kind: str, trust: bool) -> None:
    """A listing that was filtered while it was read gives the same choice."""
    paths = [
        *CONFIG,
        *SHARDS,
        *BIN_SHARDS,
        "vocab.txt",
        "runs/log.0",
        "onnx/model.onnx",
        "tf_model.h5",
        "model.gguf",
        "modeling.py",
    ]
    request = ModelRequest("org/name", kind=kind, trust_remote_code=trust)
    assert needed(request, filter(may_need, paths)) == needed(request, paths)
    assert not any(map(may_need, ["runs/log.0", "onnx/model.onnx", "tf_model.h5", "model.gguf", "README.md"]))
