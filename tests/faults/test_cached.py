"""Each state of a cache that a scenario can ask for changes that and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.faults.cached import spoil, writable
from tests.faults.schema import CACHED, Prepare

BYTES = bytes(range(100))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A cache with weights and a configuration."""
    folder = tmp_path / "hub" / "models--org--name"
    snapshot = folder / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / "blobs" / f"digest-of-{name}").write_bytes(BYTES)
        (snapshot / name).symlink_to(f"../../blobs/digest-of-{name}")
    return tmp_path


def read(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.rglob("snapshots/*/*")}


@pytest.mark.parametrize(
    ("prepare", "weights"),
    [
        ("cached", BYTES),
        ("read_only", BYTES),
        ("damaged", BYTES[:50] + bytes([50 ^ 0xFF]) + BYTES[51:]),
        ("truncated", BYTES[:50]),
        ("cached_partial", None),
    ],
)
def test_the_weights_alone_change(home: Path, prepare: Prepare, weights: bytes | None) -> None:
    spoil(prepare, home)
    there = {} if weights is None else {"model.safetensors": weights}
    assert read(home) == {"config.json": BYTES, **there}


def test_every_word_about_the_cache_does_something_that_can_be_done(home: Path) -> None:
    for word in CACHED:
        if word not in ("cached_partial", "truncated"):
            spoil(word, home)
            writable(home)


def test_read_only_is_every_folder_and_file_until_it_is_given_back(home: Path) -> None:
    spoil("read_only", home)
    paths = [home, *home.rglob("*")]
    assert [path for path in paths if not path.is_symlink() and path.stat().st_mode & 0o222] == []
    writable(home)
    assert all(stat.S_IMODE(Path(folder).stat().st_mode) == 0o755 for folder, _, _ in os.walk(home))
