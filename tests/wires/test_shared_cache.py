"""One cache with unmodified huggingface_hub, in both directions."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download

from phaita_loader import ModelRequest, Unreachable, fetch
from tests.hub import Answer
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, assert_whole, bodies, repo

EVERYTHING = ModelRequest(NAME, allow_patterns=("*",))


def file_gets(hub: Any) -> Any:
    return [seen for seen in hub.seen if seen.method == "GET" and not seen.path.startswith("/api/models/")]


def test_huggingface_hub_takes_the_cache_for_its_own(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(MIB)
    hub = serve(served)
    snapshot = fetch(EVERYTHING, hub=client(hub), policy=QUICK)
    scanned = scan_cache_dir(cache)
    assert not scanned.warnings
    (found,) = scanned.repos
    assert (found.repo_id, set(found.refs), found.nb_files) == (NAME, {"main"}, len(served.files()))
    hub.clear()
    for offline in (True, False):
        path = snapshot_download(NAME, endpoint=hub.url, cache_dir=cache, token=False, local_files_only=offline)
        assert Path(path) == snapshot.path
    assert not file_gets(hub)
    assert Path(hf_hub_download(NAME, WEIGHTS, cache_dir=cache, local_files_only=True)).is_file()


@pytest.mark.parametrize("request_", [EVERYTHING, ModelRequest(NAME)], ids=["all files", "what a model needs"])
def test_hf_cache_verify_accepts_it_and_finds_what_rots(
    serve: Serve, client: Connect, cache: Path, request_: Any
) -> None:
    served = repo(20 * MIB)
    hub = serve(served)
    fetch(request_, hub=client(hub), policy=QUICK)

    def verified() -> int:
        command = [sys.executable, "-m", "huggingface_hub.cli.hf", "cache", "verify", NAME, "--cache-dir", str(cache)]
        environ = {**os.environ, "HF_ENDPOINT": hub.url}
        return subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60).returncode

    assert verified() == 0
    blob = cache / "models--org--name" / "blobs" / served.files()[WEIGHTS].digest
    blob.write_bytes(b"?" + blob.read_bytes()[1:])
    assert verified() != 0


def test_modes_are_those_that_the_umask_asks_for(serve: Serve, client: Connect, cache: Path) -> None:
    fetch(NAME, hub=client(serve(repo(MIB))), policy=QUICK)
    umask = os.umask(0)
    os.umask(umask)
    files = [path for path in cache.rglob("*") if path.is_file() and ".locks" not in path.parts]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


def test_hf_cache_rm_leaves_nothing(serve: Serve, client: Connect, cache: Path) -> None:
    """Neither of a whole repo nor of one whose download broke off."""
    hub = serve(repo(3 * MIB), repo(MIB, "org/whole"))
    fetch("org/whole", hub=client(hub), policy=QUICK)
    hub.answer(Answer(on="cdn", match=WEIGHTS, cut=MIB))
    hub.answer(Answer(on="cdn", match=WEIGHTS, status=503, times=None, skip=1))
    with pytest.raises(Unreachable):
        fetch(NAME, hub=client(hub), policy=dataclasses.replace(QUICK, attempts=1))
    assert list(cache.glob("models--org--name/.phaita-loader/*/data")), "there is a partial to be removed"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not scan_cache_dir(cache).warnings
    hf = [sys.executable, "-m", "huggingface_hub.cli.hf"]
    remove = [*hf, "cache", "rm", "model/org/name", "model/org/whole", "--yes", "--cache-dir", str(cache)]
    done = subprocess.run(remove, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in cache.iterdir()} <= {".locks", "CACHEDIR.TAG"}


def test_a_cache_that_snapshot_download_filled_is_used_as_it_is(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(MIB)
    hub = serve(served)
    path = snapshot_download(NAME, endpoint=hub.url, cache_dir=cache, token=False)
    hub.clear()
    snapshot = fetch(NAME, hub=client(hub), policy=QUICK)
    assert snapshot.path == Path(path)
    assert not file_gets(hub)
    assert_whole(fetch(NAME, hub=client(hub, offline=True)), served)


def test_what_a_broken_snapshot_download_left_is_completed(serve: Serve, client: Connect, cache: Path) -> None:
    served = repo(MIB)
    hub = serve(served)
    snapshot_download(NAME, endpoint=hub.url, cache_dir=cache, token=False, ignore_patterns=["*.safetensors"])
    hub.clear()
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert [seen.path for seen in file_gets(hub)] == [
        f"/{NAME}/resolve/{served.shas[0]}/{WEIGHTS}",
        *[seen.path for seen in bodies(hub)],
    ]


def test_an_unmodified_client_goes_on_with_our_commit(serve: Serve, client: Connect, cache: Path) -> None:
    """It links what is there and fetches only what the loader had no need for."""
    hub = serve(repo(MIB))
    fetch(NAME, hub=client(hub), policy=QUICK)
    hub.clear()
    snapshot_download(NAME, endpoint=hub.url, cache_dir=cache, token=False)
    assert not bodies(hub)
    assert {seen.path.rpartition("/")[2] for seen in file_gets(hub)} == {"README.md"}
