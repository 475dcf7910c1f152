from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from phaita_loader.errors import Corrupt
from phaita_loader.fetch import Snapshot, fetch
from phaita_loader.listing import SMALL
from phaita_loader.request import ModelRequest
from phaita_loader.snapshot import Verify
from phaita_loader.verify import verify
from tests.unit.fakes import COMMIT, FakeHub, noise, safetensors

SHARDS = {f"model-0000{n}-of-00002.safetensors": safetensors(noise(100, n)) for n in (1, 2)}
INDEX = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode()
SHARDED = {"config.json": b"{}", "model.safetensors.index.json": INDEX, **SHARDS}


def fetched(hub: FakeHub, repo: dict[str, bytes], allow_patterns: tuple[str, ...] | None = None) -> Snapshot:
    hub.repo = dict(repo)
    return fetch(ModelRequest("org/name", COMMIT, allow_patterns=allow_patterns), hub=hub)


REPOS = [
    {"config.json": b"{}", "model.safetensors": safetensors(b"12345")},
    SHARDED,
    {"config.json": b"{}", "pytorch_model.bin": b"pickled"},
]


@pytest.mark.parametrize("how", ["auto", "full", "size"])
@pytest.mark.parametrize("repo", REPOS, ids=lambda repo: list(repo)[-1])
def test_what_was_fetched_is_right(hub: FakeHub, repo: dict[str, bytes], how: Verify) -> None:
    snapshot = fetched(hub, repo)
    verified = verify(snapshot, hub.cache_dir, how)
    assert (verified.snapshot, verified.path) == (snapshot, snapshot.path)


WRONG = [
    # The digests are right: the repo itself is not.
    ({"config.json": b"{}", "model.safetensors": b"no header"}, r"model\.safetensors has no safetensors header"),
    ({**SHARDED, "model.safetensors.index.json": b"[]"}, "is not an index of shards"),
    ({path: data for path, data in SHARDED.items() if "00002-of" not in path}, r"lacks: model-00002-of-00002\.safe"),
]


@pytest.mark.parametrize(("repo", "told"), WRONG)
def test_a_repo_that_is_wrong_itself(hub: FakeHub, repo: dict[str, bytes], told: str) -> None:
    snapshot = fetched(hub, repo)
    with pytest.raises(Corrupt, match=told) as caught:
        verify(snapshot, hub.cache_dir)
    assert caught.value.request == snapshot.request
    assert "org/name" in str(caught.value)


def test_an_index_names_the_shards_beside_it(hub: FakeHub) -> None:
    repo = {f"sub/{path}": data for path, data in SHARDED.items()}
    verify(fetched(hub, repo, allow_patterns=("sub/*",)), hub.cache_dir)


def rot(path: Path, *, seen: bool) -> None:
    """Change a byte; the file's time changes only if `seen`."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + (1 if seen else 0)))


@pytest.mark.parametrize(
    ("how", "seen", "found"),
    [
        ("auto", True, True),
        # Bit rot shows only to the one who digests.
        ("auto", False, False),
        ("full", False, True),
        ("size", True, False),
    ],
)
@pytest.mark.parametrize("copied", [False, True], ids=["linked", "copied"])
def test_a_file_that_rotted(hub: FakeHub, how: Verify, seen: bool, found: bool, copied: bool) -> None:
    repo = {"config.json": b"{}", "model.safetensors": safetensors(noise(SMALL))}
    snapshot = fetched(hub, repo)
    shown = snapshot.path / "model.safetensors"
    if copied:
        data = shown.read_bytes()
        shown.unlink()
        shown.write_bytes(data)
        verify(snapshot, hub.cache_dir)
    rot(shown, seen=seen)
    if not found:
        verify(snapshot, hub.cache_dir, how)
        return
    with pytest.raises(Corrupt, match="not the file that the Hub lists") as caught:
        verify(snapshot, hub.cache_dir, how)
    assert "phaita-loader fetch" in caught.value.hint
    # And that is true: it replaces what is wrong.
    again = fetch(snapshot.request, hub=hub, verify=how)
    verify(again, hub.cache_dir, "full")
    assert shown.read_bytes() == repo["model.safetensors"]


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: os.truncate(path, 3)])
@pytest.mark.parametrize("how", ["auto", "full", "size"])
def test_a_file_that_is_gone_or_short(hub: FakeHub, how: Verify, harm: Callable[[Path], None]) -> None:
    snapshot = fetched(hub, REPOS[0])
    harm(snapshot.path / "model.safetensors")
    with pytest.raises(Corrupt, match="not the file"):
        verify(snapshot, hub.cache_dir, how)
