from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from phaita_loader._cache.repo import RepoCache
from phaita_loader.listing import SMALL, Listing, RemoteFile
from phaita_loader.snapshot import Verify
from tests.unit.fakes import COMMIT, OTHER_COMMIT, listed, listing_of, noise, safetensors

LARGE = noise(SMALL + 1)
REPO = {"config.json": b"{}", "model.safetensors": safetensors(noise(100)), "sub/a.txt": b"a"}


@pytest.fixture
def cache(tmp_path: Path) -> RepoCache:
    return RepoCache(tmp_path, "org/name")


def put(cache: RepoCache, path: str, data: bytes) -> RemoteFile:
    file = listed(path, data)
    cache.blob(file).parent.mkdir(parents=True, exist_ok=True)
    cache.blob(file).write_bytes(data)
    return file


def test_the_layout_is_huggingface_hubs(cache: RepoCache, tmp_path: Path) -> None:
    file = listed("config.json", b"{}")
    assert cache.folder == tmp_path / "models--org--name"
    assert cache.blob(file) == cache.folder / "blobs" / file.digest
    assert cache.snapshot(COMMIT) == cache.folder / "snapshots" / COMMIT
    assert cache.lock(file) == tmp_path / ".locks" / "models--org--name" / f"{file.digest}.lock"
    assert RepoCache(tmp_path, "gpt2").folder == tmp_path / "models--gpt2"


def damaged(blob: Path) -> None:
    """Change one byte and keep size and time."""
    seen = blob.stat()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    os.utime(blob, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize(
    ("verify", "fresh", "rotten", "unstamped"),
    [
        # Is a blob trusted: when it is right; when it rotted since its stamp; when it is wrong and has no stamp?
        ("auto", True, True, False),
        ("full", True, False, False),
        ("size", True, True, True),
    ],
)
def test_how_far_a_blob_is_trusted(
    cache: RepoCache, verify: Verify, fresh: bool, rotten: bool, unstamped: bool
) -> None:
    file = put(cache, "model.safetensors", LARGE)
    assert cache.verify_blob(file, verify) is fresh
    assert cache.verify_blob(file, "auto")
    damaged(cache.blob(file))
    assert cache.verify_blob(file, verify) is rotten
    cache.stamp(file).unlink()
    assert cache.verify_blob(file, verify) is unstamped


def test_a_blob_is_digested_once(cache: RepoCache) -> None:
    file = put(cache, "model.safetensors", LARGE)
    assert not cache.stamp(file).exists()
    assert cache.verify_blob(file, "auto")
    assert cache.stamp(file).exists()


def test_a_small_blob_is_digested_every_time(cache: RepoCache) -> None:
    # It takes no longer than to look for its stamp, and so its rot is found.
    file = put(cache, "config.json", b'{"a": 1}')
    assert cache.verify_blob(file, "auto")
    assert not cache.stamp(file).exists()
    damaged(cache.blob(file))
    assert not cache.verify_blob(file, "auto")


@pytest.mark.parametrize("verify", ["auto", "full", "size"])
def test_what_is_no_blob(cache: RepoCache, verify: Verify) -> None:
    file = listed("config.json", b"{}")
    assert not cache.verify_blob(file, verify)
    put(cache, "config.json", b"{}")
    cache.blob(file).write_bytes(b"{} ")
    assert not cache.verify_blob(file, verify)


def test_link_shows_the_blob_by_a_relative_link(cache: RepoCache) -> None:
    cache.prepare(COMMIT)
    file = put(cache, "sub/deep/a.txt", b"a")
    cache.link(COMMIT, file)
    cache.link(COMMIT, file)
    pointer = cache.snapshot(COMMIT) / "sub/deep/a.txt"
    assert pointer.read_bytes() == b"a"
    assert pointer.readlink() == Path("../../../../blobs") / file.digest
    assert list(cache.ours.iterdir()) == []


def test_link_replaces_a_pointer_to_something_else(cache: RepoCache) -> None:
    cache.prepare(COMMIT)
    file, other = put(cache, "a.txt", b"right"), put(cache, "b.txt", b"wrong")
    pointer = cache.snapshot(COMMIT) / "a.txt"
    for wrong in (cache.blob(other), cache.folder / "blobs" / "gone"):
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(wrong)
        cache.link(COMMIT, file)
        assert pointer.read_bytes() == b"right"
    assert cache.blob(other).read_bytes() == b"wrong"


def test_link_replaces_a_copy_that_is_not_the_blob(cache: RepoCache) -> None:
    # Where links are not to be had the snapshot holds copies, which rot on their own.
    cache.prepare(COMMIT)
    file = put(cache, "a.txt", b"right")
    pointer = cache.snapshot(COMMIT) / "a.txt"
    pointer.write_bytes(b"wrong")
    cache.link(COMMIT, file)
    assert pointer.read_bytes() == b"right"


def test_a_ref_is_the_commit_and_nothing_else(cache: RepoCache) -> None:
    cache.prepare(COMMIT)
    assert cache.commit_of("main") is None
    for revision in ("main", "refs/pr/1", "main"):
        cache.set_ref(revision, COMMIT)
        assert (cache.folder / "refs" / revision).read_bytes() == COMMIT.encode()
    cache.set_ref("main", OTHER_COMMIT)
    assert (cache.commit_of("main"), cache.commit_of("refs/pr/1")) == (OTHER_COMMIT, COMMIT)
    assert [path.name for path in (cache.folder / "refs").iterdir() if path.is_file()] == ["main"]


@pytest.mark.parametrize("content", [b"", b"main", b"../../x", b"\xff" * 40, b"c" * 41])
def test_a_damaged_ref_is_none(cache: RepoCache, content: bytes) -> None:
    ref = cache.folder / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_bytes(content)
    assert cache.commit_of("main") is None


def test_a_listing_is_kept(cache: RepoCache) -> None:
    cache.prepare(COMMIT)
    cache.save_listing(listing_of(REPO))
    kept = cache.saved_listing(COMMIT)
    assert kept == listing_of(REPO)
    assert cache.saved_listing(OTHER_COMMIT) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"a": 1}}',
        '{"files": {"a": {"size": 1}}}',
        json.dumps({"files": {"../a": {"size": 1, "blob_id": "a" * 40}}}),
        "[" * 100_000,
    ],
    ids=lambda text: text[:20],
)
def test_a_damaged_listing_is_none(cache: RepoCache, text: str) -> None:
    path = cache.ours / "listings" / f"{COMMIT}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert cache.saved_listing(COMMIT) is None


def shown(cache: RepoCache) -> Listing:
    cache.prepare(COMMIT)
    for path, data in REPO.items():
        cache.link(COMMIT, put(cache, path, data))
    return cache.listing_from_links(COMMIT)


def test_without_a_listing_the_links_tell(cache: RepoCache) -> None:
    assert set(shown(cache).files) == set(listing_of(REPO).files)
    assert cache.listing_from_links(OTHER_COMMIT).files == ()


@pytest.mark.parametrize("target", ["gone", "x" * 40, "X" * 64, "../refs", hashlib.md5(b"").hexdigest()])
def test_a_link_that_names_no_digest_is_no_file(cache: RepoCache, target: str) -> None:
    right = set(shown(cache).files)
    blob = cache.folder / "blobs" / target
    if "/" not in target and target != "gone":
        blob.write_bytes(b"whatever")
    (cache.snapshot(COMMIT) / "odd.txt").symlink_to(blob)
    assert set(cache.listing_from_links(COMMIT).files) == right


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b"), ("a", "a/b/c")])
def test_a_branch_in_the_way_of_another_is_no_more(cache: RepoCache, names: tuple[str, str]) -> None:
    cache.prepare(COMMIT)
    for name in names:
        cache.set_ref(name, COMMIT)
    assert [cache.commit_of(name) for name in names] == [None, COMMIT]
