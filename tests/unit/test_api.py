"""Listings from the Hub: read page by page, checked, and never trusted to end."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from phaita_loader._http.client import Limits, Target
from phaita_loader._hub import api as _api
from phaita_loader._hub.api import Page, list_commit, read_page
from phaita_loader.errors import Corrupt, ModelDownloadError
from phaita_loader.listing import Listing, RemoteFile
from phaita_loader.retry import Transient
from tests.unit.fakes import COMMIT

BASE = "https://hub.test/api/models/org/name"
SHA1, SHA256 = "a" * 40, "b" * 64
INFO_URL, TREE_URL = f"{BASE}/revision/main?blobs=true", f"{BASE}/tree/{COMMIT}?recursive=true"


def sibling(path: Any = "config.json", **fields: Any) -> dict[str, Any]:
    return {"rfilename": path, "size": 2, "blobId": SHA1} | fields


def entry(path: str = "config.json", **fields: Any) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": 2, "oid": SHA1} | fields


def info(*siblings: Any, **fields: Any) -> dict[str, Any]:
    return {"sha": COMMIT, "siblings": list(siblings)} | fields


def listing(pages: dict[str, Any], **options: Any) -> Listing:
    """Return the listing read from `pages` by URL: JSON, or JSON and a `Link` header."""

    def ask(url: str) -> Page:
        found = pages[url]
        return Page(*found) if isinstance(found, tuple) else Page(found)

    return list_commit(ask, "https://hub.test", "org/name", "main", **options)


def test_small_and_large_files() -> None:
    rows = info(sibling(), sibling("model.safetensors", size=9, lfs={"sha256": SHA256, "size": 9, "pointerSize": 1}))
    assert listing({INFO_URL: rows}).files == (
        RemoteFile("config.json", 2, SHA1, "git-sha1"),
        RemoteFile("model.safetensors", 9, SHA256, "sha256"),
    )


def test_names_are_quoted() -> None:
    asked: list[str] = []

    def ask(url: str) -> Page:
        asked.append(url)
        return Page(info())

    list_commit(ask, "https://hub.test", "org/name", "refs/pr/1?x#y")
    assert asked == [f"{BASE}/revision/refs%2Fpr%2F1%3Fx%23y?blobs=true"]


BARE = {"rfilename": "config.json"}


@pytest.mark.parametrize("lack", [BARE, sibling(size=None), sibling(blobId=None)])
def test_what_a_short_listing_lacks_is_in_the_tree(lack: dict[str, Any]) -> None:
    tree = [{"type": "directory", "path": "sub", "oid": SHA1, "size": 0}, entry("sub/x", lfs={"oid": SHA256})]
    found = listing({INFO_URL: info(sibling(), lack), TREE_URL: [entry(), *tree]})
    assert found.files == (
        RemoteFile("config.json", 2, SHA1, "git-sha1"),
        RemoteFile("sub/x", 2, SHA256, "sha256"),
    )


def test_a_long_listing_is_read_as_a_tree() -> None:
    short = info(*(sibling(f"f{number}") for number in range(_api._MANY)))
    assert listing({INFO_URL: short, TREE_URL: [entry()]}).files == (RemoteFile("config.json", 2, SHA1, "git-sha1"),)


def paged(*links: str) -> dict[str, Any]:
    """Return a tree of one file a page; `links` are the pages' headers."""
    cursors = [f"&cursor={number}" for number in range(1, len(links) + 1)]
    urls = [TREE_URL, *(TREE_URL + cursor for cursor in cursors)]
    pages = {
        url: ([entry(f"f{number}")], link) for number, (url, link) in enumerate(zip(urls, [*links, ""], strict=True))
    }
    return {INFO_URL: info(BARE), **pages}


LINKS = [
    f'<{TREE_URL}&cursor=1>; rel="next"',
    f"<{TREE_URL}&cursor=1>; rel=next",
    f'<{BASE}>; rel="first", <{TREE_URL}&cursor=1>; rel="next"; title="x"',
    # A mirror that passes on what the Hub says, and an attacker.
    '<https://huggingface.co/api/models/org/name/tree/main?recursive=true&cursor=1>; rel="next"',
    '<https://evil.test/?recursive=true&cursor=1>; rel="next"',
    '<file:///etc/passwd?recursive=true&cursor=1>; rel="next"',
]


@pytest.mark.parametrize("link", LINKS)
def test_pages_are_followed_within_the_endpoint(link: str) -> None:
    assert [file.path for file in listing(paged(link)).files] == ["f0", "f1"]


@pytest.mark.parametrize("link", ["", "nonsense", '<x>; rel="prev"', "<>", f'<{TREE_URL}>; rel="nextish'])
def test_where_the_pages_end(link: str) -> None:
    assert [file.path for file in listing(paged(link)).files] == ["f0"]


def test_pages_that_lead_back() -> None:
    with pytest.raises(Corrupt, match="too many pages, or repeats one"):
        listing(paged(f'<{TREE_URL}>; rel="next"'))


def endless() -> Iterator[Page]:
    yield Page(info(BARE))
    number = 0
    while True:
        number += 1
        yield Page([entry(f"f{number}")], f'<{TREE_URL}&cursor={number}>; rel="next"')


def test_pages_without_end() -> None:
    pages = endless()
    with pytest.raises(Corrupt, match="too many pages, or repeats one"):
        list_commit(lambda _: next(pages), "https://hub.test", "org/name", "main")


def test_more_files_than_can_be_held() -> None:
    pages = {INFO_URL: info(BARE), TREE_URL: [entry(f"f{number}") for number in range(101)]}
    with pytest.raises(Corrupt, match="more than 100 files"):
        listing(pages, most=100)
    assert len(listing(pages, keep=lambda path: path == "f7", most=100).files) == 1


def test_what_is_not_needed_is_not_kept() -> None:
    pages = {INFO_URL: info(BARE), TREE_URL: [entry(), entry("runs/10:20.log"), entry("x", oid=None)]}
    found = listing(pages, keep=lambda path: path == "config.json")
    assert ([file.path for file in found.files], found.complete) == (["config.json"], False)


def test_a_short_listing_is_kept_whole() -> None:
    found = listing({INFO_URL: info(sibling(), sibling("x"))}, keep=lambda _: False)
    assert (len(found.files), found.complete) == (2, True)


def test_no_digest_anywhere() -> None:
    with pytest.raises(Corrupt, match="digest"):
        listing({INFO_URL: info(BARE), TREE_URL: [entry(oid=None)]})


NO_LISTINGS: list[Any] = [
    None,
    [],
    7,
    "x",
    True,
    {},
    {"siblings": None},
    {"siblings": {}},
    {"sha": COMMIT},
    {"error": "x"},
]


@pytest.mark.parametrize("data", NO_LISTINGS, ids=repr)
def test_what_is_no_listing(data: Any) -> None:
    with pytest.raises(Transient, match="something other than a listing"):
        listing({INFO_URL: data})
    with pytest.raises((Transient, Corrupt)):
        listing({INFO_URL: info(BARE), TREE_URL: data or {}})


NONSENSE = [
    info(sibling(), sha=None),
    info(7),
    info(None),
    info([]),
    info(sibling(["config.json"])),
    info(sibling("../config.json")),
    info(sibling(size="2")),
    info(sibling(size=2.0)),
    info(sibling(size=-1)),
    info(sibling(size=10**400)),
    info(sibling(size=1 << 63)),
    info(sibling(size=float("nan"))),
    info(sibling(blobId=7)),
    info(sibling(lfs={"sha256": 7})),
    info(sibling(), sibling(size=3)),
    info(sibling(), sibling(blobId="c" * 40)),
    info(sibling(), sibling("config.json/x")),
]


@pytest.mark.parametrize("data", NONSENSE, ids=lambda data: repr(data)[60:120])
def test_a_listing_that_makes_no_sense(data: Any) -> None:
    with pytest.raises(Corrupt):
        listing({INFO_URL: data, TREE_URL: [entry(oid=None)]})


def test_the_same_row_twice_is_one_file() -> None:
    assert len(listing({INFO_URL: info(sibling(), sibling())}).files) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.sampled_from([SHA1, SHA256, "a/b", "../b", 7])
        for name in ("rfilename", "size", "blobId", "lfs", "path", "oid", "type")
    },
)


@given(JSON | st.builds(info, ROW, ROW), JSON | st.lists(ROW, max_size=3), st.text(max_size=20))
def test_whatever_comes_there_is_a_listing_or_an_error_of_ours(first: Any, tree: Any, link: str) -> None:
    try:
        found = listing({INFO_URL: first, TREE_URL: (tree, link)})
    except (Transient, ModelDownloadError):
        return
    assert all(isinstance(file.path, str) and file.size >= 0 for file in found.files)


class Gives:
    """A client whose one response has these bytes."""

    def __init__(self, body: bytes | io.RawIOBase, **headers: str) -> None:
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = urllib3.HTTPResponse(stream, named, 200, preload_content=False)

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> urllib3.HTTPResponse:
        return self.response


def read(answer: Gives) -> Any:
    return read_page(answer, Target(INFO_URL), {}, Limits(2.0, 2.0, 2.0)).data


TEXT = json.dumps(info(sibling())).encode()


def test_a_page_may_be_packed() -> None:
    for answer in (Gives(TEXT), Gives(gzip.compress(TEXT), Content_Encoding="gzip")):
        assert read(answer) == info(sibling())


BAD_PAGES = {
    "empty": Gives(b""),
    "half": Gives(TEXT[:50]),
    "another encoding": Gives(b"\x1b\x03", Content_Encoding="br"),
    "packed, it says": Gives(TEXT, Content_Encoding="gzip"),
    "half a pack": Gives(gzip.compress(TEXT)[:40], Content_Encoding="gzip"),
    "packed in secret": Gives(gzip.compress(TEXT)),
    "deep": Gives(b"[" * 1_000_000),
    "deep and closed": Gives(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a number without end": Gives(b'{"sha": ' + b"1" * 100_000 + b"}"),
    "no text": Gives(b'{"sha": "\xff\xfe"}'),
}


@pytest.mark.parametrize("page", BAD_PAGES)
def test_pages_that_are_no_json(page: str) -> None:
    with pytest.raises(Transient, match="something other than a listing"):
        read(BAD_PAGES[page])


class Endless(io.RawIOBase):
    """An endless stream of blanks, which JSON may begin with; `given` counts them."""

    given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.given += len(buffer)
        buffer[:] = b" " * len(buffer)
        return len(buffer)

    def read1(self, count: int = -1) -> bytes:
        self.given += max(count, 1)
        return b" " * max(count, 1)


def test_a_body_without_end_is_not_read_to_it() -> None:
    stream = Endless()
    with pytest.raises(Corrupt, match="longer than 8 MiB"):
        read(Gives(stream))
    assert stream.given < 2 * _api._LONGEST


def bomb(size: int) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    return b"".join([*(pack.compress(b" " * (1 << 20)) for _ in range(size >> 20)), pack.flush()])


def test_a_gzip_bomb_is_not_unpacked() -> None:
    packed = bomb(64 << 20)
    assert len(packed) < _api._LONGEST
    with pytest.raises(Corrupt, match="longer than 8 MiB"):
        read(Gives(packed, Content_Encoding="gzip"))
