from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phaita_loader._cache.digest import RunningDigest, digest_of, digest_of_bytes
from phaita_loader._cache.stamps import has_stamp, write_stamp
from phaita_loader.listing import Algorithm
from tests.unit.fakes import noise

KNOWN: list[tuple[bytes, Algorithm, str]] = [
    # `printf 'hello\n' | git hash-object --stdin`
    (b"hello\n", "git-sha1", "ce013625030ba8dba906f756967f9e9ca394464a"),
    (b"", "git-sha1", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
    # `printf 'hello\n' | sha256sum`
    (b"hello\n", "sha256", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
    (b"", "sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
]


@pytest.mark.parametrize(("data", "algorithm", "digest"), KNOWN)
def test_known_values(tmp_path: Path, data: bytes, algorithm: Algorithm, digest: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert digest_of(path, algorithm, len(data)) == digest


BIG = noise(5 << 20)


@pytest.mark.parametrize("size", [3000, len(BIG)], ids=["in this thread", "in a thread of its own"])
def test_the_running_digest_follows_the_writer(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    data = BIG[:size]

    @settings(max_examples=12)
    @given(st.lists(st.integers(1, size - 1), max_size=6, unique=True).map(sorted))
    def follow(steps: list[int]) -> None:
        path = tmp_path_factory.mktemp("digest") / "file"
        running = RunningDigest(path, "sha256", size)
        with path.open("wb", buffering=0) as file:
            for start, end in zip([0, *steps], [*steps, size], strict=True):
                file.write(data[start:end])
                running.advance(end)
        assert running.result() == hashlib.sha256(data).hexdigest()

    follow()


def test_only_the_first_bytes_count(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\nand more that was preallocated")
    assert digest_of(path, "git-sha1", 6) == KNOWN[0][2]


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_a_file_that_is_shorter_or_gone_is_an_error(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="No such file"):
        digest_of(path, "sha256", size)
    path.write_bytes(b"short")
    with pytest.raises(OSError, match="shorter than expected"):
        digest_of(path, "sha256", size)


@pytest.mark.parametrize("size", [10, 5 << 20])
def test_a_stopped_digest_ends(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    running = RunningDigest(path, "sha256", size)
    running.advance(5)
    running.cancel()
    running.advance(6)
    running.result()  # returns; what it returns is worth nothing


def test_a_stamp_fits_until_the_file_changes(tmp_path: Path) -> None:
    blob, record = tmp_path / "blob", tmp_path / "stamps" / "digest"
    blob.write_bytes(b"12345")
    assert not has_stamp(record, blob)
    write_stamp(record, blob, blob.stat())
    assert has_stamp(record, blob)
    seen = blob.stat()
    os.utime(blob, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    assert not has_stamp(record, blob)
    os.utime(blob, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert has_stamp(record, blob)
    blob.write_bytes(b"123456")
    os.utime(blob, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert not has_stamp(record, blob)


@pytest.mark.parametrize("content", [b"", b"5", b"\xff\xff", b"5 5 5"])
def test_a_damaged_stamp_does_not_fit(tmp_path: Path, content: bytes) -> None:
    blob, record = tmp_path / "blob", tmp_path / "stamp"
    blob.write_bytes(b"12345")
    record.write_bytes(content)
    assert not has_stamp(record, blob)


def test_a_read_only_cache_has_its_stamps_in_the_users_own_folder(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"12345")
    (tmp_path / "file").touch()
    record = tmp_path / "file" / "stamp"
    assert not has_stamp(record, blob)
    write_stamp(record, blob, blob.stat())
    assert has_stamp(record, blob)
    assert not has_stamp(tmp_path / "other" / "stamp", blob), "another cache's stamps are not this one's"
    (kept,) = (tmp_path / "user").rglob("stamp")
    blob.write_bytes(b"123456")
    assert not has_stamp(record, blob)
    assert kept.is_file()


def test_a_stamp_that_can_be_written_nowhere_is_no_error(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"12345")
    for name in ("file", "user"):
        (tmp_path / name).touch()
    record = tmp_path / "file" / "stamp"
    write_stamp(record, blob, blob.stat())
    assert not has_stamp(record, blob)


def test_a_digest_can_be_ended(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(3 << 20))
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        digest_of(blob, "sha256", 3 << 20, check)
    assert len(calls) == 2


def test_of_bytes_it_is_the_same(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"12345")
    for algorithm in ("sha256", "git-sha1"):
        assert digest_of_bytes(b"12345", algorithm) == digest_of(blob, algorithm, 5)


def test_a_blob_that_changed_while_it_was_digested_gets_no_stamp(tmp_path: Path) -> None:
    blob, record = tmp_path / "blob", tmp_path / "stamp"
    blob.write_bytes(b"12345")
    before = blob.stat()
    blob.write_bytes(b"123456")
    write_stamp(record, blob, before)
    assert not record.exists()


def test_an_old_stamp_in_a_read_only_cache_does_not_hide_the_users_own(tmp_path: Path) -> None:
    blob, ours = tmp_path / "blob", tmp_path / "ours"
    blob.write_bytes(b"12345")
    ours.touch()
    write_stamp(ours / "stamp", blob, blob.stat())
    ours.unlink()
    ours.mkdir()
    (ours / "stamp").write_text("5 1")
    assert has_stamp(ours / "stamp", blob)
