"""URLs of the Hub, taken apart: which repo, which revision, which path.

Revisions arrive percent-encoded as one segment (`refs%2Fpr%2F1`), so the raw path is split before it is decoded.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request

API = "/api/models/"
RESOLVE_CACHE = "/api/resolve-cache/models/"
VERBS = frozenset({"auth-check", "commits", "discussions", "paths-info", "refs", "revision", "tree"})


@dataclass(frozen=True)
class Address:
    """`verb` is what is asked of the repo; revision and path are empty where the URL has none."""

    repo_id: str
    verb: str = ""
    revision: str = ""
    path: str = ""


def raw_path(request: Request) -> str:
    """The path as it came over the wire, still encoded."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    return bytes(raw).decode("ascii", "replace")


def parse_api(path: str, known: Container[str]) -> Address | None:
    """`/api/models/{repo}[/{verb}[/{revision}[/{path}]]]`; repo is one or two segments."""
    segments = path.removeprefix(API).rstrip("/").split("/")
    count = _repo_segments(segments, VERBS, known)
    return None if count is None else _address(segments, count)


def parse_resolve(path: str, known: Container[str]) -> Address | None:
    """`/{repo}/resolve/{revision}/{path}`."""
    segments = path.removeprefix("/").split("/")
    count = _repo_segments(segments, frozenset({"resolve"}), known)
    if count is None or len(segments) < count + 3:
        return None
    return _address(segments, count)


def parse_resolve_cache(path: str, known: Container[str]) -> Address | None:
    """`/api/resolve-cache/models/{repo}/{commit}/{path}`: no verb tells where the repo id ends, the repos do."""
    segments = path.removeprefix(RESOLVE_CACHE).split("/")
    count = 1 if unquote(segments[0]) in known else 2
    if len(segments) < count + 2:
        return None
    return _address([*segments[:count], "resolve-cache", *segments[count:]], count)


def _repo_segments(segments: Sequence[str], verbs: frozenset[str], known: Container[str]) -> int | None:
    """The number of segments that name the repo. A repo that exists wins: an org may have a repo called `refs`."""
    shapes = [n for n in (2, 1) if len(segments) == n or (len(segments) > n and segments[n] in verbs)]
    existing = [n for n in shapes if _join(segments[:n]) in known]
    by_verb = [n for n in shapes if len(segments) > n]
    return next(iter([*existing, *by_verb, *shapes]), None)


def _address(segments: Sequence[str], count: int) -> Address:
    rest = [unquote(segment) for segment in segments[count:]]
    verb, revision = [*rest[:2], "", ""][:2]
    return Address(_join(segments[:count]), verb, revision, "/".join(rest[2:]))


def _join(segments: Sequence[str]) -> str:
    return "/".join(unquote(segment) for segment in segments)
