"""A commit's listing from the Hub's API: read a page at a time, each bounded in time and memory."""

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
from phaita_loader._http.client import HttpClient, Limits, Response, Target, cancel, close, follow
from phaita_loader._http.url import host
from phaita_loader.errors import Corrupt
from phaita_loader.listing import Listing, consistent, listed_commit, listed_file
from phaita_loader.policy import answer_limit
from phaita_loader.retry import Transient

__all__ = ["Ask", "Page", "list_commit", "read_page"]

_LONGEST = 8 << 20
"""The bytes of one page at most: the Hub's, of 10,000 files, have about 4 MB, and parsed JSON takes 20 times that."""
_MANY = 10_000  # files, from which on the Hub cuts its short listing off
_PAGES = 2_000
_ROWS = 250_000
_CHUNK = 1 << 16
_GZIP = 31  # zlib's wbits for a gzip header


@dataclass(frozen=True, slots=True)
class Page:
    """Parsed JSON, and the `Link` header that names the next page."""

    data: Any
    link: str = ""


Ask: TypeAlias = Callable[[str], Page]


def read_page(client: HttpClient, target: Target, headers: Mapping[str, str], limits: Limits) -> Page:
    """Return the JSON of one GET, within `answer_limit` of the limit for a connection.

    Raises Transient, NotFound, AccessDenied, Corrupt.
    """
    # HfApi reads an answer of any length, and has no public way to stop that.
    name, seconds, responses = host(target.url), answer_limit(limits.connect), list[Response]()

    def read() -> Page:
        response, _ = follow(client, target, {**headers, "Accept-Encoding": "gzip"}, limits)
        responses.append(response)
        data = _unpacked(_read_body(response, name), response.headers.get("Content-Encoding", ""))
        return Page(json.loads(data), response.headers.get("Link", ""))

    try:
        return bounded(read, seconds)
    except TimeoutError as error:
        # The thread is left behind; without its socket it ends soon.
        for response in responses:
            cancel(response)
        raise Transient(f"{name} sent no listing within {seconds:g} s") from error
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
    """Return the commit that a revision means, and its files, `most` at most.

    A long tree is read without the paths for which `keep` is False.

    Raises Transient, NotFound, AccessDenied, Corrupt.
    """
    base = f"{endpoint}/api/models/{quote(repo_id)}"
    info = ask(f"{base}/revision/{quote(revision, safe='')}?blobs=true").data
    siblings = info.get("siblings") if isinstance(info, dict) else None
    if not isinstance(siblings, list):
        raise _no_listing(host(endpoint))
    commit = listed_commit(info.get("sha"))
    rows: Iterable[_Row] = [_sibling(row) for row in siblings]
    # Mirrors and registries often leave sizes and digests out of the short listing.
    tree = len(siblings) >= _MANY or any(size is None or blob is None for _, size, blob, _ in rows)
    if tree:
        rows = _tree(ask, f"{base}/tree/{commit}?recursive=true", keep or (lambda _: True), most)
    return Listing(commit, consistent(listed_file(*row) for row in rows), complete=not (tree and keep))


def _read_body(response: Response, name: str) -> bytes:
    """Return the body of a response, which need not end by itself. Raises Corrupt, Transient."""
    data = bytearray()
    try:
        while chunk := response.read1(_CHUNK, decode_content=False):
            data += chunk
            # A server can send without end, and the body is held in memory.
            if len(data) > _LONGEST:
                raise _too_long()
        response.drain_conn()
    except Corrupt:
        close(response)
        raise
    except Exception as error:
        close(response)
        raise network_failure(error, name) from error
    return bytes(data)


def _unpacked(data: bytes, encoding: str) -> bytes:
    """Return the unpacked body, if it is not longer than any listing. Raises Corrupt, ValueError, zlib.error."""
    if encoding.lower() in {"", "identity"}:
        return data
    if encoding.lower() not in {"gzip", "x-gzip"}:
        raise ValueError("an unexpected Content-Encoding")
    # A few packed kilobytes can unpack to gigabytes, so unpacking is limited too.
    unpacked = zlib.decompressobj(_GZIP).decompress(data, _LONGEST + 1)
    if len(unpacked) > _LONGEST:
        raise _too_long()
    return unpacked


def _too_long() -> Corrupt:
    return Corrupt(f"the Hub's listing is longer than {_LONGEST >> 20} MiB")


def _no_listing(name: str) -> Transient:
    # A captive portal answers everything with a page of its own.
    return Transient(f"{name} answered with something other than a listing")


_Row: TypeAlias = tuple[Any, Any, Any, Any]  # path, size, git's blob, LFS's sha256


def _sibling(row: Any) -> _Row:
    row = _mapping(row)
    return row.get("rfilename"), row.get("size"), row.get("blobId"), _mapping(row.get("lfs")).get("sha256")


def _tree(ask: Ask, url: str, keep: Callable[[str], bool], most: int) -> Iterator[_Row]:
    """Yield the files of a tree, page by page."""
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
    # A faulty mirror may name the same page for ever.
    while url not in seen and len(seen) < _PAGES:
        seen.add(url)
        page = ask(url)
        if not isinstance(page.data, list):
            raise _no_listing(host(url))
        yield page.data
        following = re.search(r'<([^>]*)>\s*;[^,<]*\brel="?next\b', page.link)
        if following is None:
            return
        # Only the query is taken, for its cursor: a mirror's link may name the Hub that it mirrors.
        url = urlsplit(url)._replace(query=following[1].partition("?")[2]).geturl()
    raise Corrupt("the Hub's listing has too many pages, or repeats one")


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a JSON object, else one without fields."""
    return value if isinstance(value, dict) else {}
