"""A listing as the Hub's API tells it, a page at a time, each bounded in time and memory."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

from phaita_loader._bounded import bounded
from phaita_loader._classify import network_failure
from phaita_loader._http.client import Answer, Limits, Opener, Target, abort, follow, hang_up
from phaita_loader._http.url import host
from phaita_loader.errors import Corrupt
from phaita_loader.listing import Listing, consistent, listed_commit, listed_file
from phaita_loader.retry import Transient

__all__ = ["Ask", "Page", "list_commit", "read_page"]

_LONGEST = 8 << 20
"""Bytes of one page: the Hub's longest, of 10,000 files, has about 4 MB. Parsed, JSON takes up to twenty times that."""
_MANY = 10_000  # beyond so many files the Hub's short listing is cut off
_PAGES = 2_000
_ROWS = 250_000
_CHUNK = 1 << 16
_GZIP = 31  # zlib's word for it


@dataclass(frozen=True, slots=True)
class Page:
    """Parsed JSON, and the `Link` header that leads on."""

    data: Any
    link: str = ""


Ask: TypeAlias = Callable[[str], Page]


def read_page(opener: Opener, target: Target, headers: Mapping[str, str], limits: Limits) -> Page:
    """One GET of JSON, which may take four times the limit for a connection, however it drips.

    Raises Transient, NotFound, AccessDenied, Corrupt.
    """
    # Not HfApi: it reads an answer of any length, and there is nothing public to stop it by.
    name, seconds, answers = host(target.url), 4 * limits.connect, list[Answer]()

    def read() -> Page:
        answer, _ = follow(opener, target, {**headers, "Accept-Encoding": "gzip"}, limits)
        answers.append(answer)
        data = _plain(_received(answer, name), answer.headers.get("Content-Encoding", ""))
        return Page(json.loads(data), answer.headers.get("Link", ""))

    try:
        return bounded(read, seconds)
    except TimeoutError as error:
        for answer in answers:
            abort(answer)
        raise Transient(f"{name} gave no listing within {seconds:g} s") from error
    except (ValueError, RecursionError, zlib.error) as error:
        raise _no_listing(name) from error


def list_commit(
    ask: Ask,
    endpoint: str,
    repo_id: str,
    revision: str,
    keep: Callable[[str], bool] | None = None,
    most: int = _ROWS,
) -> Listing:
    """The commit that a revision means, and its files, `most` at most.

    A long tree is read without the paths that `keep` refuses.

    Raises Transient, NotFound, AccessDenied, Corrupt.
    """
    base = f"{endpoint}/api/models/{quote(repo_id)}"
    info = ask(f"{base}/revision/{quote(revision, safe='')}?blobs=true").data
    siblings = info.get("siblings") if isinstance(info, dict) else None
    if not isinstance(siblings, list):
        raise _no_listing(host(endpoint))
    commit = listed_commit(info.get("sha"))
    rows: Iterable[_Row] = [_sibling(row) for row in siblings]
    tree = len(siblings) >= _MANY or any(size is None or blob is None for _, size, blob, _ in rows)
    if tree:
        rows = _tree(ask, f"{base}/tree/{commit}?recursive=true", keep or (lambda _: True), most)
    return Listing(commit, consistent(listed_file(*row) for row in rows), complete=not (tree and keep))


def _received(answer: Answer, name: str) -> bytes:
    """The body of an answer, which is not trusted to end by itself."""
    data = bytearray()
    try:
        while chunk := answer.read1(_CHUNK, decode_content=False):
            data += chunk
            if len(data) > _LONGEST:
                raise _too_long()
        answer.drain_conn()
    except Corrupt:
        hang_up(answer)
        raise
    except Exception as error:
        hang_up(answer)
        raise network_failure(error, name) from error
    return bytes(data)


def _plain(data: bytes, encoding: str) -> bytes:
    """Unpacked, as far as it is not longer than any listing. Raises ValueError, zlib.error."""
    if encoding.lower() in {"", "identity"}:
        return data
    if encoding.lower() not in {"gzip", "x-gzip"}:
        raise ValueError("an encoding that was not asked for")
    unpacked = zlib.decompressobj(_GZIP).decompress(data, _LONGEST + 1)
    if len(unpacked) > _LONGEST:
        raise _too_long()
    return unpacked


def _too_long() -> Corrupt:
    return Corrupt(f"the Hub's listing is longer than {_LONGEST >> 20} MiB")


def _no_listing(name: str) -> Transient:
    # A captive portal answers everything with a page of its own.
    return Transient(f"{name} answered with something that is no listing")


_Row: TypeAlias = tuple[Any, Any, Any, Any]  # path, size, git's blob, LFS's sha256


def _sibling(row: Any) -> _Row:
    row = _mapping(row)
    return row.get("rfilename"), row.get("size"), row.get("blobId"), _mapping(row.get("lfs")).get("sha256")


def _tree(ask: Ask, url: str, keep: Callable[[str], bool], most: int) -> Iterator[_Row]:
    """The files of a tree, page by page."""
    kept = 0
    for page in _pages(ask, url):
        for row in map(_mapping, page):
            path = row.get("path")
            if row.get("type") != "file" or (isinstance(path, str) and not keep(path)):
                continue
            kept += 1
            if kept > most:
                raise Corrupt(f"the Hub lists more than {most} files")
            yield path, row.get("size"), row.get("oid"), _mapping(row.get("lfs")).get("oid")


def _pages(ask: Ask, url: str) -> Iterator[list[Any]]:
    seen: set[str] = set()
    while url not in seen and len(seen) < _PAGES:
        seen.add(url)
        page = ask(url)
        if not isinstance(page.data, list):
            raise _no_listing(host(url))
        yield page.data
        following = re.search(r'<([^>]*)>\s*;[^,<]*\brel="?next\b', page.link)
        if following is None:
            return
        # Only the query is taken: it holds the cursor, and a mirror's link may name the Hub that it mirrors.
        url = urlsplit(url)._replace(query=following[1].partition("?")[2]).geturl()
    raise Corrupt("the Hub's listing does not end")


def _mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object; one that is absent, or something else, has no fields."""
    return value if isinstance(value, dict) else {}
