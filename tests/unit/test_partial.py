"""A partial file while its owner writes it, on disk or in memory."""

from __future__ import annotations

import gc
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phaita_loader._transfer.partial import Partial, bytes_present
from phaita_loader.listing import RemoteFile
from tests.unit.partials import DATA, FILE, left_behind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


def test_bytes_survive_their_owner(folder: Path) -> None:
    home = left_behind(folder)
    assert home.is_dir()
    assert bytes_present(folder, [FILE]).total() == 400
    partial = Partial(folder, FILE)
    assert (partial.ranges.prefix, partial.ranges.size) == (400, 400)
    assert not home.exists(), "a claimed partial must not be found under its common name"
    partial.write(400, DATA[400:])
    assert partial.path.read_bytes() == DATA
    partial.release()


def test_write_counts_what_is_new(folder: Path) -> None:
    partial = Partial(folder, FILE)
    assert [partial.write(0, DATA[:10]), partial.write(5, DATA[5:20]), partial.write(100, DATA[100:150])] == [
        10,
        10,
        50,
    ]
    assert (partial.ranges.size, partial.ranges.prefix) == (70, 20)
    # What comes beyond the file's end is none of it.
    assert [partial.write(990, DATA[990:] + b"more"), partial.write(1000, b"more"), partial.write(0, b"")] == [10, 0, 0]
    assert partial.path.stat().st_size == 1000
    partial.release()


def test_nothing_is_found_where_nothing_was_left(folder: Path) -> None:
    assert bytes_present(folder, [FILE]).total() == 0
    Partial(folder, FILE).release()
    assert list(folder.iterdir()) == []


def test_publish_makes_the_blob_and_leaves_nothing_else(folder: Path) -> None:
    partial, blob = Partial(folder, FILE), folder / "blobs" / FILE.digest
    blob.parent.mkdir()
    partial.write(0, DATA)
    partial.publish(blob)
    partial.release()
    assert blob.read_bytes() == DATA
    assert [path.name for path in folder.iterdir()] == ["blobs"]


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_blob_has_the_modes_that_the_umask_asks_for(folder: Path, umask: Callable[[int], int], mask: int) -> None:
    # A shared cache with the 0600 of a temporary file serves nobody but its maker.
    umask(mask)
    partial, blob = Partial(folder, FILE), folder / "blob"
    partial.write(0, DATA)
    partial.publish(blob)
    assert stat.S_IMODE(blob.stat().st_mode) == 0o666 & ~mask


def test_publish_replaces_a_link(folder: Path, tmp_path: Path) -> None:
    target, blob = tmp_path / "target", tmp_path / "blob"
    target.write_bytes(b"someone else's")
    blob.symlink_to(target)
    partial = Partial(folder, FILE)
    partial.write(0, DATA)
    partial.publish(blob)
    assert (blob.read_bytes(), blob.is_symlink(), target.read_bytes()) == (DATA, False, b"someone else's")


def test_discard_leaves_nothing(folder: Path) -> None:
    partial = Partial(folder, FILE)
    partial.write(0, DATA)
    partial.discard()
    partial.release()
    assert (list(folder.iterdir()), partial.ranges.size) == ([], 0)


def test_a_partial_that_was_deleted_under_its_owner_leaves_no_open_file(folder: Path) -> None:
    partial = Partial(folder, FILE)
    partial.write(0, DATA[:10])
    for path in (partial.path, partial.path.parent):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError):
        partial.release()
    del partial
    gc.collect()  # an open file would warn here, and warnings are errors


def test_in_memory_nothing_is_on_the_disk_before_the_end(folder: Path) -> None:
    partial = Partial(folder, FILE, in_memory=True)
    partial.write(0, DATA[:500])
    partial.write(500, DATA[500:])
    assert (partial.content, list(folder.iterdir())) == (DATA, [])
    (folder / "blobs").mkdir()
    partial.publish(folder / "blobs" / FILE.digest)
    assert (folder / "blobs" / FILE.digest).read_bytes() == DATA
    assert [path.name for path in folder.iterdir()] == ["blobs"]


def test_in_memory_what_came_is_left_to_the_next(folder: Path) -> None:
    partial = Partial(folder, FILE, in_memory=True)
    partial.write(0, DATA[:500])
    partial.release()
    again = Partial(folder, FILE, in_memory=True)
    assert (again.ranges.size, again.content) == (500, None), "what was left is gone on with where it lies"
    again.release()


def test_in_memory_nothing_comes_to_nothing(folder: Path) -> None:
    partial = Partial(folder, FILE, in_memory=True)
    partial.write(0, DATA[:500])
    partial.discard()
    partial.release()
    Partial(folder, FILE, in_memory=True).release()
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("end", ["publish", "release"])
def test_in_memory_a_disk_that_takes_a_part_is_told(folder: Path, end: str) -> None:
    import resource

    big = RemoteFile("big.json", 900_000, "b" * 40, "git-sha1")
    partial = Partial(folder, big, in_memory=True)
    partial.write(0, bytes(900_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            partial.publish(folder / "blob") if end == "publish" else partial.release()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (folder / "blob").exists()
    partial.discard()
