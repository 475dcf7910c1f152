"""The two Starlette apps: the Hub origin and the CDN origin."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import address, errors, signing
from .address import Address
from .api import Api
from .body import file_response
from .content import Blob
from .store import Store

PORTAL_PATH = "/captive-portal/login"
PORTAL_PAGE = "<!DOCTYPE html><html><head><title>Free WiFi</title></head><body>Please log in to go on.</body></html>"
_DENIED = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>'
)


@dataclass
class Signer:
    """Makes and checks the CDN's URLs. `public_url` is what Location headers name, `lifetime` is in seconds."""

    secret: bytes
    public_url: str
    lifetime: float = 3600.0
    clock: Callable[[], float] = field(default=time.time)

    def url(self, repo_id: str, path: str, blob: Blob) -> str:
        """A URL that opens this one file for a while."""
        expires = int(self.clock() + self.lifetime)
        signed = signing.sign(self.secret, f"/repos/{repo_id}/{blob.sha256}", _disposition(path), expires)
        return f"{self.public_url.rstrip('/')}{signed}"

    def accepts(self, request: Request) -> bool:
        """True if the URL was made here and has not expired."""
        return signing.is_valid(self.secret, request.url.path, request.query_params, self.clock())


class Files:
    """Answers /{repo}/resolve/... and /api/resolve-cache/... on the Hub origin."""

    def __init__(self, store: Store, signer: Signer) -> None:
        self._store = store
        self._signer = signer

    async def resolve(self, request: Request) -> Response:
        """307 to the same origin for a small file, 302 to a signed URL of the CDN for a large one."""
        at = address.parse_resolve(address.raw_path(request), self._store.repos)
        if at is None:
            raise errors.no_such_page()
        commit, blob = self._find(request, at)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "Vary": "Origin, Accept"}
        if blob.sha256 is None:
            location = f"{address.RESOLVE_CACHE}{at.repo_id}/{commit}/{quote(at.path)}?{_echo(request, blob)}"
            return _redirect(307, location, headers)
        linked = {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.sha256}"'}
        return _redirect(302, self._signer.url(at.repo_id, at.path, blob), {**headers, **linked})

    async def resolve_cache(self, request: Request) -> Response:
        """The body of a small file; like the live Hub's, this page knows commits only, no branches."""
        at = address.parse_resolve_cache(address.raw_path(request), self._store.repos)
        if at is None:
            raise errors.no_such_page()
        repo = self._store.readable(request, at.repo_id)
        if at.revision not in repo.shas:
            raise errors.bad_request(f"not a commit: {at.revision}")
        commit, blob = self._find(request, at)
        head = {"ETag": f'"{blob.digest}"', "X-Repo-Commit": commit, "Content-Disposition": _disposition(at.path)}
        return file_response(request, blob, {**head, "Content-Type": "text/plain; charset=utf-8"})

    def _find(self, request: Request, at: Address) -> tuple[str, Blob]:
        repo = self._store.downloadable(request, at.repo_id)
        snapshot = self._store.snapshot(repo, at.revision)
        if at.path not in snapshot.files:
            raise errors.entry_not_found(snapshot.sha)
        return snapshot.sha, snapshot.files[at.path]


def hub_app(store: Store, signer: Signer) -> Starlette:
    """The Hub origin."""
    api, files = Api(store), Files(store, signer)
    routes = [
        Route(PORTAL_PATH, _portal),
        Route("/api/agent-harnesses", api.agent_harnesses),
        Route("/api/whoami-v2", api.whoami),
        Route("/api/resolve-cache/models/{rest:path}", files.resolve_cache),
        Route("/api/models/{rest:path}", api.get, methods=["GET"]),
        Route("/api/models/{rest:path}", api.post, methods=["POST"]),
        Route("/{rest:path}", files.resolve),
    ]
    handlers = {errors.HubError: errors.hub_error_response, HTTPException: _plain_error}
    return Starlette(routes=routes, exception_handlers=handlers)


def cdn_app(store: Store, signer: Signer) -> Starlette:
    """The CDN origin: nothing but signed URLs."""

    async def serve(request: Request) -> Response:
        if not signer.accepts(request):
            return denied()
        repo_id, _, sha256 = request.path_params["rest"].rpartition("/")
        blob = store.large(repo_id, sha256)
        if blob is None:
            return denied()
        disposition = request.query_params[signing.DISPOSITION]
        return file_response(request, blob, {"ETag": cdn_etag(sha256), "Content-Disposition": disposition})

    routes = [Route(PORTAL_PATH, _portal), Route("/repos/{rest:path}", serve)]
    return Starlette(routes=routes, exception_handlers={HTTPException: _plain_error})


def denied() -> Response:
    """Return the CDN's answer to a wrong or expired signature."""
    return Response(_DENIED, 403, {"X-Cache": "Error from cdn"}, "application/xml")


def cdn_etag(sha256: str) -> str:
    """The CDN names its objects in its own way: its ETag is not the digest."""
    return f'"{hashlib.sha256(sha256.encode()).hexdigest()}"'


def _redirect(status: int, location: str, headers: dict[str, str]) -> Response:
    reason = "Temporary Redirect" if status == 307 else "Found"
    return PlainTextResponse(f"{reason}. Redirecting to {location}", status, {**headers, "Location": location})


def _echo(request: Request, blob: Blob) -> str:
    etag = f'"{blob.digest}"'
    return f"{quote(request.url.path, safe='')}=&etag={quote(etag, safe='')}"


def _disposition(path: str) -> str:
    name = PurePosixPath(path).name
    plain = name.encode("ascii", "replace").decode().replace('"', "?")
    return f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"


async def _portal(_request: Request) -> Response:
    return HTMLResponse(PORTAL_PAGE)


async def _plain_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return PlainTextResponse(error.detail, error.status_code, error.headers)
