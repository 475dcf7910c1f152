from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita_loader.errors import Corrupt
from phaita_loader.listing import RemoteFile, clashing, consistent, is_safe, listed_commit, listed_file

SHA1, SHA256 = "a" * 40, "b" * 64

ROWS = [
    # Git's own files have a blob id, LFS files the digest of their content, which is the one that counts.
    (("config.json", 2, SHA1, None), RemoteFile("config.json", 2, SHA1, "git-sha1")),
    (("model.safetensors", 9, SHA1, SHA256), RemoteFile("model.safetensors", 9, SHA256, "sha256")),
    (("sub/a b.txt", 0, SHA1, None), RemoteFile("sub/a b.txt", 0, SHA1, "git-sha1")),
    (("..config", 1, SHA1, None), RemoteFile("..config", 1, SHA1, "git-sha1")),
]


@pytest.mark.parametrize(("row", "file"), ROWS)
def test_rows(row: tuple[Any, ...], file: RemoteFile) -> None:
    assert listed_file(*row) == file


BAD_ROWS = [
    (("../x", 1, SHA1), "path"),
    (("/etc/passwd", 1, SHA1), "path"),
    (("a/../b", 1, SHA1), "path"),
    (("a//b", 1, SHA1), "path"),
    (("a/", 1, SHA1), "path"),
    (("", 1, SHA1), "path"),
    (("a\\..\\b", 1, SHA1), "path"),
    (("C:x", 1, SHA1), "path"),
    (("a\0b", 1, SHA1), "path"),
    (("a\nb", 1, SHA1), "path"),
    # No file system can store half a character.
    (("a\ud800.json", 1, SHA1), "path"),
    ((None, 1, SHA1), "path"),
    (("x", -1, SHA1), "size"),
    (("x", None, SHA1), "size"),
    (("x", 1 << 63, SHA1), "size"),
    (("x", 10**4000, SHA1), "size"),
    (("x", float("inf"), SHA1), "size"),
    (("x", 1.5, SHA1), "size"),
    (("x", True, SHA1), "size"),
    (("x", "1", SHA1), "size"),
    (("x", 1, None), "digest"),
    (("x", 1, ""), "digest"),
    (("x", 1, "a" * 39), "digest"),
    (("x", 1, "A" * 40), "digest"),
    (("x", 1, "../" + "a" * 37), "digest"),
    (("x", 1, SHA1 + "\n"), "digest"),
    # A digest by LFS that is none is not made good by git's.
    (("x", 1, SHA1, "short"), "digest"),
    (("x", 1, SHA1, SHA1), "digest"),
]


@pytest.mark.parametrize(("row", "what"), BAD_ROWS, ids=repr)
def test_bad_rows(row: tuple[Any, ...], what: str) -> None:
    with pytest.raises(Corrupt, match=what):
        listed_file(*row)


@given(st.text(st.sampled_from("ab./\\:~\0\n\ud800é"), max_size=12) | st.text(max_size=8))
def test_no_accepted_path_leaves_its_folder(path: str) -> None:
    try:
        file = listed_file(path, 1, SHA1)
    except Corrupt:
        return
    folder = Path("/snapshot")
    assert (folder / file.path).is_relative_to(folder)
    assert ".." not in (folder / file.path).parts
    assert (folder / file.path).relative_to(folder).as_posix() == path
    assert path.encode()


@pytest.mark.parametrize("commit", [None, "", "main", "c" * 39, "C" * 40, "c" * 40 + "\n", 7, "../" + "c" * 37])
def test_a_commit_is_40_hex_digits(commit: object) -> None:
    assert listed_commit("c" * 40) == "c" * 40
    with pytest.raises(Corrupt, match="commit"):
        listed_commit(commit)


NOT_ON_WINDOWS = [
    "aux",
    "AUX.json",
    "sub/nul.txt",
    "con .txt",
    "COM1",
    "lpt9.bin",
    "com\u00b9",
    "x.",
    "x ",
    "a./b",
    "a?b",
    "<a",
    "a|b",
]


@pytest.mark.parametrize("path", NOT_ON_WINDOWS)
def test_names_that_windows_does_not_know(path: str) -> None:
    assert is_safe(path, windows=False)
    assert not is_safe(path, windows=True)


@pytest.mark.parametrize("path", ["auxiliary.json", "com10", "console/x", ".gitattributes", "a b.txt", "nul-model.bin"])
def test_names_that_only_look_like_devices(path: str) -> None:
    assert is_safe(path, windows=True)


def file(path: str, size: int = 1, digest: str = SHA1) -> RemoteFile:
    return listed_file(path, size, digest)


def test_a_path_is_one_thing() -> None:
    assert consistent([file("a"), file("a"), file("b/c"), file("bc")]) == (file("a"), file("b/c"), file("bc"))
    for others in ([file("a", 2)], [file("a", digest="c" * 40)], [file("a/b")], [file("x/y/z"), file("x/y")]):
        with pytest.raises(Corrupt, match=r"twice|folder"):
            consistent([file("a"), *others])


CLASHES = [
    (["config.json", "Config.json"], ("config.json", "Config.json")),
    (["a/x", "A/x"], ("a/x", "A/x")),
    (["\u00e9.txt", "e\u0301.txt"], ("\u00e9.txt", "e\u0301.txt")),
    (["a", "b", "a"], None),
]


@pytest.mark.parametrize(("paths", "found"), CLASHES)
def test_paths_that_some_file_systems_take_for_one(paths: list[str], found: tuple[str, str] | None) -> None:
    assert clashing(map(file, paths)) == found
