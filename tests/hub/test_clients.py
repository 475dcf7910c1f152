"""The unmodified huggingface_hub client gets from the local Hub what it gets from the live one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub import Commit, LocalHub, Repo
from tests.hub.conftest import CANONICAL, FIRST, PUBLIC, SECOND, WEIGHTS


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


def test_model_info_has_sizes_and_digests(api: HfApi) -> None:
    info = api.model_info("org/name", files_metadata=True)
    assert (info.id, info.sha, info.private, info.gated) == ("org/name", PUBLIC.shas[1], False, False)
    assert (info.pipeline_tag, info.author) == ("fill-mask", "org")
    found = {s.rfilename: (s.size, s.blob_id, s.lfs and s.lfs.sha256) for s in info.siblings or []}
    assert found == {path: (b.size, b.oid, b.sha256) for path, b in PUBLIC.files().items()}


def test_model_info_without_metadata_names_the_files_only(api: HfApi) -> None:
    siblings = api.model_info("org/name", revision="v1").siblings or []
    assert [(s.rfilename, s.size) for s in siblings] == [("config.json", None), ("weights.bin", None)]


@pytest.mark.parametrize("revision", ["main", "v1", PUBLIC.shas[0], "refs/tags/v1"])
def test_every_way_to_name_a_revision(api: HfApi, revision: str) -> None:
    expected = PUBLIC.shas[1] if revision == "main" else PUBLIC.shas[0]
    assert api.model_info("org/name", revision=revision).sha == expected


def test_the_tree_has_files_folders_and_digests(api: HfApi) -> None:
    tree: dict[str, Any] = {e.path: e for e in api.list_repo_tree("org/name", recursive=True, expand=True)}
    assert list(tree) == sorted([*SECOND.files, "folder", "folder/nested"])
    large = tree["model.safetensors"]
    assert (large.lfs.sha256, large.size, large.blob_id) == _lfs()
    assert large.lfs.pointer_size == PUBLIC.files()["model.safetensors"].pointer_size
    assert large.last_commit.title == "second"


def test_the_tree_can_be_asked_folder_by_folder(api: HfApi) -> None:
    assert "folder/nested" not in {entry.path for entry in api.list_repo_tree("org/name")}
    assert [entry.path for entry in api.list_repo_tree("org/name", "folder")] == ["folder/nested"]
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("org/name", "no-such-folder"))


def test_a_long_tree_comes_in_pages() -> None:
    files = {f"folder-{i % 7}/{i:05}.txt": b"%d" % i for i in range(10_001)}
    with LocalHub([Repo("org/long", [Commit(files)], info_limit=10_000)]) as hub:
        api = HfApi(endpoint=hub.url, token=False)
        assert len(api.model_info("org/long", files_metadata=True).siblings or []) == 10_000
        listed: dict[str, Any] = {entry.path: entry for entry in api.list_repo_tree("org/long", recursive=True)}
        assert len(hub.seen) == 1 + 11
    assert listed.keys() - files.keys() == {f"folder-{i}" for i in range(7)}
    assert (len(listed), listed["folder-4/10000.txt"].size) == (10_008, 5)


def test_paths_info_leaves_out_what_is_not_there(api: HfApi) -> None:
    found: list[Any] = api.get_paths_info("org/name", ["model.safetensors", "folder", "missing"], expand=True)
    assert [entry.path for entry in found] == ["model.safetensors", "folder"]
    assert (found[0].lfs.sha256, found[0].size, found[0].blob_id) == _lfs()


def test_refs_commits_and_auth_check(api: HfApi) -> None:
    refs = api.list_repo_refs("org/name")
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", PUBLIC.shas[1])]
    assert [(ref.ref, ref.target_commit) for ref in refs.tags] == [("refs/tags/v1", PUBLIC.shas[0])]
    assert [commit.commit_id for commit in api.list_repo_commits("org/name")] == list(reversed(PUBLIC.shas))
    assert list(api.get_repo_discussions("org/name")) == []
    api.auth_check("org/name")
    with pytest.raises(GatedRepoError):
        api.auth_check("org/gated")


@pytest.mark.parametrize("path", list(SECOND.files))
def test_download_of_one_file(hub: LocalHub, tmp_path: Path, path: str) -> None:
    file = hf_hub_download("org/name", path, endpoint=hub.url, cache_dir=tmp_path, token=False)
    blob = PUBLIC.files()[path]
    assert Path(file).read_bytes() == SECOND.files[path]
    assert Path(file).resolve().name == blob.digest


def test_repos_without_an_organisation(hub: LocalHub, tmp_path: Path) -> None:
    assert HfApi(endpoint=hub.url, token=False).model_info("gpt2", revision="main").sha == CANONICAL.shas[1]
    assert "config.json" in HfApi(endpoint=hub.url, token=False).list_repo_files("gpt2")
    file = hf_hub_download("gpt2", "config.json", endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert Path(file).read_bytes() == SECOND.files["config.json"]


def test_download_of_a_snapshot_and_then_of_nothing(hub: LocalHub, tmp_path: Path) -> None:
    folder = Path(snapshot_download("org/name", endpoint=hub.url, cache_dir=tmp_path, token=False))
    assert folder.name == PUBLIC.shas[1]
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == SECOND.files
    assert [seen.bytes_sent for seen in hub.seen if seen.origin == "cdn"] == [len(WEIGHTS)]
    hub.clear()
    assert snapshot_download("org/name", endpoint=hub.url, cache_dir=tmp_path, token=False) == str(folder)
    assert [seen for seen in hub.seen if seen.method == "GET" and not seen.path.startswith("/api/models/")] == []


def test_download_of_an_old_commit_by_tag(hub: LocalHub, tmp_path: Path) -> None:
    folder = Path(snapshot_download("org/name", revision="v1", endpoint=hub.url, cache_dir=tmp_path, token=False))
    assert folder.name == PUBLIC.shas[0]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FIRST.files


def test_a_branch_that_moves(tmp_path: Path) -> None:
    with LocalHub([PUBLIC]) as hub:
        api = HfApi(endpoint=hub.url, token=False)
        hub.move("org/name", "main", PUBLIC.shas[0])
        assert api.model_info("org/name").sha == PUBLIC.shas[0]
        hub.move("org/name", "main", PUBLIC.shas[1])
        assert api.model_info("org/name").sha == PUBLIC.shas[1]
        with pytest.raises(ValueError, match="no commit"):
            hub.move("org/name", "main", "0" * 40)
        with pytest.raises(ValueError, match="no repo 'org/nil'; there are org/name"):
            hub.move("org/nil", "main", PUBLIC.shas[0])


def test_what_is_missing(api: HfApi, hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: v9"):
        api.model_info("org/name", revision="v9")
    with pytest.raises(RepositoryNotFoundError) as anonymous:
        hf_hub_download("org/none", "config.json", endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert anonymous.value.response.status_code == 401
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/name", "config.json", revision="v9", endpoint=hub.url, cache_dir=tmp_path, token=False)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("org/name", "nil.json", endpoint=hub.url, cache_dir=tmp_path, token=False)
    # The client notes the absence under the commit that the answer names.
    assert (tmp_path / "models--org--name" / ".no_exist" / PUBLIC.shas[1] / "nil.json").is_file()


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_poor", 403)])
def test_a_gated_repo_shows_its_info_but_no_file(hub: LocalHub, tmp_path: Path, token: str, status: int) -> None:
    api = HfApi(endpoint=hub.url, token=token)
    assert api.model_info("org/gated").gated == "manual"
    assert "config.json" in api.list_repo_files("org/gated")
    for path in ("config.json", "model.safetensors"):
        with pytest.raises(GatedRepoError, match="Access to model org/gated is restricted") as error:
            hf_hub_download("org/gated", path, endpoint=hub.url, cache_dir=tmp_path, token=token)
        assert error.value.response.status_code == status


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_poor", 404)])
def test_a_private_repo_looks_like_a_missing_one(hub: LocalHub, tmp_path: Path, token: str, status: int) -> None:
    api = HfApi(endpoint=hub.url, token=token)
    for repo_id in ("org/private", "org/none"):
        with pytest.raises(RepositoryNotFoundError) as error:
            api.model_info(repo_id)
        assert error.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download(repo_id, "config.json", endpoint=hub.url, cache_dir=tmp_path, token=token)


def test_a_good_token_opens_both_and_never_reaches_the_cdn(hub: LocalHub, tmp_path: Path) -> None:
    for repo_id in ("org/gated", "org/private"):
        snapshot_download(repo_id, endpoint=hub.url, cache_dir=tmp_path, token="hf_good")
    assert {seen.authorised for seen in hub.seen if seen.origin == "hub"} == {True}
    assert [seen.authorised for seen in hub.seen if seen.origin == "cdn"] == [False, False]


def test_a_token_that_nobody_knows(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as error:
        hf_hub_download("org/name", "config.json", endpoint=hub.url, cache_dir=tmp_path, token="hf_bad")
    assert error.value.response.status_code == 401
    assert not isinstance(error.value, RepositoryNotFoundError)


def test_whoami(hub: LocalHub) -> None:
    assert HfApi(endpoint=hub.url).whoami("hf_good")["name"] == "local"


def test_hf_cache_verify(hub: LocalHub, tmp_path: Path) -> None:
    folder = Path(snapshot_download("org/name", endpoint=hub.url, cache_dir=tmp_path, token=False))
    good = _verify(hub, tmp_path)
    assert (good.returncode, f"Verified {len(SECOND.files)} file(s)" in good.stdout) == (0, True)
    damaged = bytearray(WEIGHTS)
    damaged[7] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    bad = _verify(hub, tmp_path)
    assert (bad.returncode, "model.safetensors: expected" in bad.stdout) == (1, True)


def _verify(hub: LocalHub, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", "cache", "verify", "org/name", "--cache-dir", str(cache)]
    environ = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache / "home"), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def _lfs() -> tuple[str | None, int, str]:
    blob = PUBLIC.files()["model.safetensors"]
    return blob.sha256, blob.size, blob.oid
