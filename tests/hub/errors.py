"""The live Hub's refusals: status, X-Error-Code and X-Error-Message, one function each."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response


class HubError(Exception):
    """A refusal on its way to the client."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})


def repo_not_found(signed_in: bool) -> HubError:
    """A repo that is missing, or private to others: the live Hub does not tell which.

    The live Hub leaves the code out of its anonymous 401 and its client infers it, but from https URLs only;
    sent always, the answer means the same over http.
    """
    if signed_in:
        return HubError(404, "Repository not found", "RepoNotFound")
    challenge = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}
    return HubError(401, "Invalid username or password.", "RepoNotFound", challenge)


def bad_credentials() -> HubError:
    """A token that the Hub does not know."""
    return HubError(401, "Invalid credentials in Authorization header")


def gated(repo_id: str, signed_in: bool) -> HubError:
    """Files of a gated repo, asked for without access."""
    if signed_in:
        rest = f"and you are not in the authorized list. Visit https://huggingface.co/{repo_id} to ask for access."
        return HubError(403, f"Access to model {repo_id} is restricted {rest}", "GatedRepo")
    rest = "You must have access to it and be authenticated to access it. Please log in."
    return HubError(401, f"Access to model {repo_id} is restricted. {rest}", "GatedRepo")


def revision_not_found(revision: str) -> HubError:
    """No branch, tag or commit of that name."""
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(commit: str, message: str = "Entry not found") -> HubError:
    """The repo has no such file or folder at this commit."""
    return HubError(404, message, "EntryNotFound", {"X-Repo-Commit": commit})


def bad_request(message: str) -> HubError:
    """A request that means nothing."""
    return HubError(400, message)


def no_such_page() -> HubError:
    """A URL that this Hub does not have."""
    return HubError(404, "Sorry, we can't find the page you are looking for.")


async def hub_error_response(request: Request, error: Exception) -> Response:
    """Starlette exception handler: JSON from the API, plain text elsewhere, as the live Hub does."""
    if not isinstance(error, HubError):
        raise error
    headers = {**error.headers, "X-Error-Message": _header_text(error.message)}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": error.message}, error.status, headers)
    return PlainTextResponse(error.message, error.status, headers)


def _header_text(message: str) -> str:
    """Header values are printable latin-1; a client can put anything else into a URL."""
    return "".join(char if char.isprintable() and ord(char) < 256 else "?" for char in message)
