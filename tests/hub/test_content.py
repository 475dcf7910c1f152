"""Digests and refs, against values that git and the live Hub compute."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.hub import Commit, Repo
from tests.hub.conftest import FIRST, PUBLIC, SECOND, WEIGHTS


def test_small_files_have_the_git_object_id() -> None:
    files = Repo("r", [Commit({"empty": b"", "hello": b"hello\n"})]).files()
    assert files["empty"].oid == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert files["hello"].oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert files["hello"].sha256 is None
    assert files["hello"].digest == files["hello"].oid


def test_large_files_have_the_sha256_and_the_pointers_object_id() -> None:
    blob = PUBLIC.files()["model.safetensors"]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{blob.sha256}\nsize {blob.size}\n".encode()
    assert blob.digest == blob.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert blob.pointer_size == len(pointer)
    assert blob.oid == hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()


@pytest.mark.parametrize(
    ("path", "size", "large"),
    [
        ("config.json", 10, False),
        ("model.safetensors", 10, True),
        ("spm.model", 10, True),
        ("vocab.txt", 100, True),
        ("vocab.txt", 99, False),
    ],
)
def test_suffix_or_size_makes_a_file_large(path: str, size: int, large: bool) -> None:
    blob = Repo("r", [Commit({path: bytes(size)})], lfs_threshold=100).files()[path]
    assert (blob.sha256 is not None) is large


def test_a_file_on_disk_has_the_digests_of_its_bytes(tmp_path: Path) -> None:
    on_disk = tmp_path / "any"
    on_disk.write_bytes(WEIGHTS)
    for path in ("a.bin", "a.txt"):
        stored, held = (Repo("r", [Commit({path: source})], lfs_threshold=1 << 30) for source in (on_disk, WEIGHTS))
        assert stored.files()[path].digest == held.files()[path].digest
        assert stored.shas == held.shas


def test_commit_shas_follow_from_the_content() -> None:
    again = Repo("org/name", [FIRST, SECOND])
    assert again.shas == PUBLIC.shas
    assert all(len(sha) == 40 for sha in again.shas)
    assert len({*again.shas, *Repo("org/name", [SECOND, FIRST]).shas, *Repo("org/other", [FIRST, SECOND]).shas}) == 6


def test_refs_name_commits_by_index_or_sha() -> None:
    repo = Repo("r", [FIRST, SECOND], refs={"main": 0, "dev": PUBLIC_SHA}, tags={"v2": -1})
    assert repo.snapshot().sha == repo.shas[0]
    assert repo.snapshot("dev").sha == repo.snapshot("v2").sha == repo.shas[1]
    assert repo.snapshot(repo.shas[1]).title == "second"


def test_size_is_the_sum_of_a_commits_files() -> None:
    assert PUBLIC.size() == sum(len(content) for content in SECOND.files.values() if isinstance(content, bytes))
    assert PUBLIC.size("v1") == 11


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "a//b", "a/./b", "a\\b", "a/"])
def test_paths_stay_inside_the_repo(path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside a repo"):
        Commit({path: b""})


@pytest.mark.parametrize("repo_id", ["", "a/b/c", "/b", "a/", "../b"])
def test_repo_ids_are_one_or_two_names(repo_id: str) -> None:
    with pytest.raises(ValueError, match="not a repo id"):
        Repo(repo_id, [FIRST])


def test_a_ref_to_no_commit_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 commits"):
        Repo("r", [FIRST], refs={"main": 1})
    with pytest.raises(ValueError, match="has no commit 123"):
        Repo("r", [FIRST], tags={"v1": "123"})
    with pytest.raises(ValueError, match="at least one commit"):
        Repo("r", [])


PUBLIC_SHA = Repo("r", [FIRST, SECOND]).shas[1]
