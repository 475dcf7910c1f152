"""The JSON API of the Hub origin: model info, tree, paths-info, refs, commits."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import address, errors
from .address import Address
from .content import Blob, Repo, Snapshot
from .store import Store

TREE_PAGE = 1000
_Json = dict[str, object]


class Api:
    """Answers everything under /api/models/."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._get: dict[str, Callable[[Request, Repo, Address], Response]] = {
            "": self._info,
            "auth-check": self._auth_check,
            "commits": self._commits,
            "discussions": self._discussions,
            "refs": self._refs,
            "revision": self._info,
            "tree": self._tree,
        }

    async def get(self, request: Request) -> Response:
        """GET and HEAD of any API page."""
        repo, at = self._locate(request)
        if at.verb not in self._get:
            raise errors.no_such_page()
        return self._get[at.verb](request, repo, at)

    async def post(self, request: Request) -> Response:
        """POST paths-info: what lies at these paths; those that are not there are left out, as on the live Hub."""
        repo, at = self._locate(request)
        if at.verb != "paths-info":
            raise errors.no_such_page()
        snapshot = self._store.snapshot(repo, at.revision or "main")
        asked = _posted_paths(await request.body(), request.headers.get("content-type", ""))
        entries = {str(entry["path"]): entry for entry in _entries(snapshot, "", True, True)}
        return JSONResponse([entries[path] for path in asked if path in entries])

    async def whoami(self, request: Request) -> Response:
        """GET /api/whoami-v2."""
        if self._store.token(request) is None:
            raise errors.repo_not_found(signed_in=False)
        return JSONResponse({"type": "user", "id": "0" * 24, "name": "local", "fullname": "Local User", "orgs": []})

    async def agent_harnesses(self, _request: Request) -> Response:
        """GET /api/agent-harnesses: with an empty HF_HOME, the first thing that huggingface_hub asks for."""
        return JSONResponse({"standardEnvVars": [], "harnesses": {}})

    def _locate(self, request: Request) -> tuple[Repo, Address]:
        at = address.parse_api(address.raw_path(request), self._store.repos)
        if at is None:
            raise errors.no_such_page()
        return self._store.readable(request, at.repo_id), at

    def _info(self, request: Request, repo: Repo, at: Address) -> Response:
        snapshot = self._store.snapshot(repo, at.revision or "main")
        blobs = request.query_params.get("blobs", "").lower() in ("true", "1")
        files = itertools.islice(snapshot.files.items(), repo.info_limit)
        siblings = [_sibling(path, blob, blobs) for path, blob in files]
        return JSONResponse({**_about(repo, snapshot), **repo.info, "siblings": siblings})

    def _tree(self, request: Request, repo: Repo, at: Address) -> Response:
        snapshot = self._store.snapshot(repo, at.revision or "main")
        flags = {name: request.query_params.get(name, "").lower() in ("true", "1") for name in ("recursive", "expand")}
        entries = list(_entries(snapshot, at.path, flags["recursive"], flags["expand"]))
        if at.path and not entries:
            raise errors.entry_not_found(snapshot.sha, f'{at.path} does not exist on "{at.revision or "main"}"')
        return _page(request, entries)

    def _refs(self, _request: Request, repo: Repo, _at: Address) -> Response:
        branches = [_ref(name, f"refs/heads/{name}", sha) for name, sha in self._store.branches(repo).items()]
        tags = [_ref(name, f"refs/tags/{name}", str(sha)) for name, sha in repo.tags.items()]
        return JSONResponse({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def _commits(self, _request: Request, repo: Repo, at: Address) -> Response:
        last = repo.snapshots.index(self._store.snapshot(repo, at.revision or "main"))
        listed = [_commit(snapshot) for snapshot in reversed(repo.snapshots[: last + 1])]
        return JSONResponse(listed, headers={"X-Total-Count": str(len(listed))})

    def _auth_check(self, request: Request, repo: Repo, _at: Address) -> Response:
        self._store.downloadable(request, repo.repo_id)
        return JSONResponse({})

    def _discussions(self, _request: Request, _repo: Repo, _at: Address) -> Response:
        return JSONResponse({"discussions": [], "count": 0, "start": 0, "numClosedDiscussions": 0})


def _about(repo: Repo, snapshot: Snapshot) -> _Json:
    return {
        "_id": hashlib.sha256(repo.repo_id.encode()).hexdigest()[:24],
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "author": repo.repo_id.partition("/")[0] if "/" in repo.repo_id else None,
        "sha": snapshot.sha,
        "lastModified": snapshot.date,
        "createdAt": repo.snapshots[0].date,
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "spaces": [],
    }


def _sibling(path: str, blob: Blob, blobs: bool) -> _Json:
    if not blobs:
        return {"rfilename": path}
    entry: _Json = {"rfilename": path, "size": blob.size, "blobId": blob.oid}
    if blob.sha256 is not None:
        entry["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return entry


def _entries(snapshot: Snapshot, folder: str, recursive: bool, expand: bool) -> Iterator[_Json]:
    """Files and folders below `folder`, in path order."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in snapshot.files.items() if path.startswith(prefix)}
    entries = {path: _file_entry(path, blob) for path, blob in inside.items()}
    entries |= {name: _folder_entry(name, below) for name, below in _folders(inside, prefix).items()}
    extra = {"lastCommit": _last_commit(snapshot)} if expand else {}
    for path in sorted(entries):
        if recursive or "/" not in path.removeprefix(prefix):
            yield {**entries[path], **extra}


def _file_entry(path: str, blob: Blob) -> _Json:
    entry: _Json = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.sha256 is not None:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return entry


def _folders(files: Mapping[str, Blob], prefix: str) -> dict[str, list[str]]:
    """Every folder below the prefix, with a line for each file that is anywhere inside it."""
    folders: dict[str, list[str]] = {}
    for path, blob in files.items():
        for at, char in enumerate(path):
            if char == "/" and at >= len(prefix):
                folders.setdefault(path[:at], []).append(f"{blob.oid} {path}")
    return folders


def _folder_entry(name: str, below: list[str]) -> _Json:
    oid = hashlib.sha1("\n".join(below).encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": name}


def _last_commit(snapshot: Snapshot) -> _Json:
    return {"id": snapshot.sha, "title": snapshot.title, "date": snapshot.date}


def _ref(name: str, ref: str, sha: str) -> _Json:
    return {"name": name, "ref": ref, "targetCommit": sha}


def _commit(snapshot: Snapshot) -> _Json:
    return {**_last_commit(snapshot), "message": "", "authors": [{"user": "local"}]}


def _page(request: Request, entries: list[_Json]) -> Response:
    """One page of a listing; the Link header of the next follows the Host header, so that a proxy in front stays."""
    try:
        start = int(request.query_params.get("cursor", "0"))
        limit = min(int(request.query_params.get("limit", TREE_PAGE)), TREE_PAGE)
    except ValueError:
        raise errors.bad_request("cursor and limit are numbers") from None
    if start < 0 or limit < 1:
        raise errors.bad_request("cursor and limit are positive")
    headers = {}
    if start + limit < len(entries):
        query = urlencode({**request.query_params, "cursor": start + limit})
        origin = f"{request.url.scheme}://{request.url.netloc}"
        headers["Link"] = f'<{origin}{address.raw_path(request)}?{query}>; rel="next"'
    return JSONResponse(entries[start : start + limit], headers=headers)


def _posted_paths(body: bytes, content_type: str) -> list[str]:
    if not content_type.startswith("application/json"):
        return parse_qs(body.decode(errors="replace")).get("paths", [])
    try:
        paths = json.loads(body).get("paths", [])
    except (ValueError, AttributeError):
        raise errors.bad_request("the body is not a JSON object") from None
    if not isinstance(paths, list):
        raise errors.bad_request("paths is a list")
    return [str(path) for path in paths]
