"""The harness sees every way in which a cache can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.disk import look
from tests.hub import Commit, Repo

REPO = Repo("org/name", [Commit({"config.json": b'{"a": 1}', "sub/model.safetensors": b"weights"})])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A right cache of REPO, the small file linked, the large one copied."""
    folder = tmp_path / "hub" / "models--org--name"
    snapshot = folder / "snapshots" / REPO.shas[0]
    for path, blob in REPO.files().items():
        assert isinstance(blob.source, bytes)
        stored, linked = folder / "blobs" / blob.digest, snapshot / path
        stored.parent.mkdir(exist_ok=True, parents=True)
        linked.parent.mkdir(exist_ok=True, parents=True)
        stored.write_bytes(blob.source)
        if blob.sha256:
            linked.write_bytes(blob.source)
        else:
            linked.symlink_to(os.path.relpath(stored, linked.parent))
    return tmp_path


def weights(cache: Path) -> Path:
    return next(cache.rglob("model.safetensors"))


def test_a_right_cache(cache: Path) -> None:
    seen = look(cache, REPO)
    assert (seen.wrong, seen.size) == ((), REPO.size())
    assert seen.snapshots == {REPO.shas[0]: set(REPO.files())}
    assert seen.lacking(REPO, ("*",)) == ()


def test_a_flipped_byte(cache: Path) -> None:
    weights(cache).write_bytes(b"weighty")
    assert look(cache, REPO).wrong == ("snapshots/sub/model.safetensors has other bytes than the repo",)


def test_a_partial_file_under_a_final_name(cache: Path) -> None:
    weights(cache).write_bytes(b"weig")
    blob = REPO.files()["sub/model.safetensors"]
    (cache / "hub" / "models--org--name" / "blobs" / blob.digest).write_bytes(b"we")
    assert look(cache, REPO).wrong == (
        f"blobs/{blob.digest[:12]} has 2 bytes of 7",
        "snapshots/sub/model.safetensors has 4 bytes of 7",
    )


def test_a_partial_file_under_a_partial_name_is_no_harm(cache: Path) -> None:
    (cache / "hub" / "models--org--name" / "blobs" / "abc.123.incomplete").write_bytes(b"we")
    assert look(cache, REPO).wrong == ()


def test_strangers_dangling_links_and_gaps(cache: Path) -> None:
    (weights(cache).parent / "stranger").write_bytes(b"")
    weights(cache).unlink()
    small = REPO.files()["config.json"]
    (cache / "hub" / "models--org--name" / "blobs" / small.digest).unlink()
    seen = look(cache, REPO)
    assert seen.wrong == ("snapshots/config.json is a dangling link", "snapshots/sub/stranger is no file of the repo")
    assert seen.lacking(REPO, ("*.safetensors",)) == ("sub/model.safetensors",)


def test_no_cache_at_all(tmp_path: Path) -> None:
    seen = look(tmp_path, REPO)
    assert (seen.wrong, seen.size, seen.snapshots) == ((), 0, {})
    assert seen.lacking(REPO, ("*.json",)) == ("config.json",)


def test_files_of_two_commits_make_no_snapshot(tmp_path: Path) -> None:
    older, newer = (
        Commit({"config.json": b"1", "model.safetensors": b"1"}),
        Commit({"config.json": b"2", "new.txt": b"2"}),
    )
    repo = Repo("org/name", [older, newer])
    for commit, path in zip(repo.shas, ("config.json", "new.txt"), strict=True):
        file = tmp_path / "hub" / "models--org--name" / "snapshots" / commit / path
        file.parent.mkdir(parents=True)
        file.write_bytes(repo.files(commit)[path].read())
    seen = look(tmp_path, repo)
    assert seen.wrong == ()
    assert seen.lacking(repo, ("*.json", "*.safetensors")) == ("config.json",)
