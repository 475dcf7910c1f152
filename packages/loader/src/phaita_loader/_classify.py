"""Which failures are worth another attempt, and which are the answer. One place, small predicates, a table of tests.

Messages are made here from the parts that are safe to show: a foreign exception's text can hold a signed URL.
"""

from __future__ import annotations

import errno
import re
import shlex
import socket
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

import urllib3.exceptions as u3

from phaita_loader.errors import (
    AccessDenied,
    Corrupt,
    DeadlineExceeded,
    LoaderError,
    ModelDownloadError,
    NotCached,
    NotFound,
    RateLimited,
    StorageError,
    Unreachable,
)
from phaita_loader.listing import MOST_BY_HTTP, RemoteFile
from phaita_loader.retry import Transient

__all__ = [
    "Origin",
    "advice",
    "network_failure",
    "retry_after",
    "status_failure",
    "storage_failure",
    "too_large",
]

Origin: TypeAlias = Literal["hub", "cdn"]

LOGIN = "run `hf auth login`, or set HF_TOKEN to a token of an account that has access"
STATUS = "https://status.huggingface.co"
_NAMED = "that HTTPS_PROXY, HTTP_PROXY or the system names"
TRUST = "if your network inspects TLS, set SSL_CERT_FILE to its CA bundle"
_ANONYMOUS = "public repos need none: unset HF_TOKEN, run `hf auth logout`, or pass token=False"
_BAD_TOKEN = re.compile(r"invalid (credentials|token|access token)|token.*\b(expired|revoked)", re.IGNORECASE)


def status_failure(status: int, headers: Mapping[str, str], origin: Origin, now: datetime) -> Exception:
    """The error for an answer that is neither a body nor a redirect. `now` turns an HTTP-date into seconds."""
    if origin == "cdn" and status < 500 and not _is_patient(status):
        # A CDN knows no accounts: its refusal means that the signed URL ran out, and a new one can be had.
        return Transient(f"the CDN refused the signed URL ({status})")
    if _is_patient(status) or not 400 <= status < 500:
        final = RateLimited if status == 429 else Unreachable
        return Transient(f"the {_name(origin)} answered {status}", final=final, retry_after=retry_after(headers, now))
    return _permanent(status, headers.get("X-Error-Code", ""), headers.get("X-Error-Message", ""))


def _is_patient(status: int) -> bool:
    """The 4xx that speak of the moment, the connection or the range, and not of what was asked for."""
    return status in {408, 416, 421, 425, 429}


def _permanent(status: int, code: str, message: str) -> ModelDownloadError:
    if status == 401 and not code and _BAD_TOKEN.search(message):
        return AccessDenied("the Hub says that the token is not valid", hint=f"{_ANONYMOUS}\nelse: {LOGIN}")
    if "resource is disabled" in message:
        return AccessDenied("the Hub has disabled the repo", hint="its page may say why")
    if code == "GatedRepo":
        return AccessDenied(
            "the repo is gated and this token has no access", hint=f"ask for access on its page\n{LOGIN}"
        )
    if code == "RevisionNotFound":
        return NotFound("the repo has no such revision", hint="check the branch, tag or commit on the repo's page")
    if code == "EntryNotFound":
        return NotFound("the repo has no such file at this revision")
    if status in {404, 410} or code == "RepoNotFound" or "Invalid username" in message:
        # The Hub answers 401 for a private repo too, so as not to tell that it exists, and anonymous calls get no code.
        return NotFound(
            "there is no such repo, or this token may not see it", hint=f"check the name\nif private: {LOGIN}"
        )
    if status == 407:
        return _proxy_denied()
    if status == 451:
        return AccessDenied("the Hub may not give it here, for legal reasons (451)", hint="its page may say why")
    if status in {401, 403}:
        return AccessDenied(f"the Hub denied access ({status})", hint=LOGIN)
    return ModelDownloadError(f"the Hub did not understand the request ({status})", hint=f"see {STATUS}")


def _proxy_denied() -> AccessDenied:
    return AccessDenied("the proxy asks for a user and password", hint="put them into HTTPS_PROXY")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait: `Retry-After` (seconds or HTTP-date), else an exhausted `RateLimit`."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    if value:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    spent = re.search(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("RateLimit", ""))
    return float(spent[1]) if spent else None


def network_failure(error: BaseException, host: str) -> Exception:
    """The error for a request that got no answer, or an answer that broke off."""
    causes = _chain(error)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Unreachable(f"the TLS certificate of {host} is not trusted", hint=TRUST)
    # A firewall refuses a connection in the same words as a file system refuses a file.
    connecting = any(isinstance(cause, u3.NewConnectionError) for cause in causes)
    if not connecting and any(isinstance(cause, FileNotFoundError | PermissionError) for cause in causes):
        return Unreachable("the CA file for TLS can't be read", hint="check SSL_CERT_FILE and SSL_CERT_DIR")
    if any(_is_proxy_denial(cause) for cause in causes):
        return _proxy_denied()
    if any(isinstance(cause, u3.LocationValueError) for cause in causes):
        return Unreachable(f"{host!r} is no address", hint="check HF_ENDPOINT and the proxy variables")
    return Transient(_told(causes, host))


def _is_proxy_denial(cause: BaseException) -> bool:
    """A proxy that denies a CONNECT: the clients raise its answer as an error, whose text alone has the status."""
    return re.match(r"(Tunnel connection failed: )?407\b", str(cause)) is not None


def _told(causes: list[BaseException], host: str) -> str:
    if any(isinstance(cause, u3.ProxyError) for cause in causes):
        # Whatever else is among the causes happened on the way to the proxy.
        gone = any(isinstance(cause, u3.ConnectTimeoutError | u3.NewConnectionError) for cause in causes)
        return f"the proxy {_NAMED} can't be reached" if gone else f"the proxy does not reach {host}"
    rows: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        ((u3.NameResolutionError, socket.gaierror), f"the name {host} can't be looked up"),
        (ConnectionRefusedError, f"{host} refused the connection"),
        ((ConnectionResetError, BrokenPipeError), f"{host} reset the connection"),
        (u3.IncompleteRead, f"{host} closed the connection early"),
        ((ssl.SSLError, u3.SSLError), f"TLS with {host} broke"),
        # urllib3 calls a refused connection a timeout too, so the timeouts come last.
        (u3.ConnectTimeoutError, f"{host} can't be reached"),
        ((u3.ReadTimeoutError, TimeoutError), f"{host} fell silent"),
    )
    for kinds, text in rows:
        if any(isinstance(cause, kinds) for cause in causes):
            return text
    return f"the connection to {host} broke ({type(causes[0]).__name__})"


def storage_failure(error: OSError, folder: object) -> StorageError:
    """The error for a cache that can't be written."""
    reason = error.strerror or type(error).__name__
    hint = "check who owns the folder and how its disk is mounted"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        hint = "free some space"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        hint = "close files, or allow the process more of them (ulimit -n)"
    return StorageError(f"can't write in {folder}: {reason}", hint=f"{hint}\nor set HF_HOME to another place")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and everything that it wraps, however its library chains it."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        current = todo.pop()
        # urllib3's `reason` is an exception, that of ssl a word.
        if not isinstance(current, BaseException) or any(current is seen for seen in found):
            continue
        found.append(current)
        todo += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return found


def _name(origin: Origin) -> str:
    return "Hub" if origin == "hub" else "CDN"


_FIRST_STEPS: dict[type[LoaderError], str] = {
    Corrupt: "something on the way or the disk changes bytes: try another network or another disk",
    DeadlineExceeded: "give it a longer deadline",
    RateLimited: "run `hf auth login`: accounts have higher limits than anonymous calls",
}


def advice(error: LoaderError, repo_id: str, revision: str, cache_dir: object) -> str:
    """What a person can do when the error itself knows nothing better, a step a line."""
    command = shlex.join(["hf", "download", repo_id, "--revision", revision, "--cache-dir", str(cache_dir)])
    if isinstance(error, NotCached):  # nothing was asked for, so that the same call would end in the same way
        return f"fetch it once while online: {command}\nor name the cache that has it: this one is {cache_dir}"
    return (
        f"{_FIRST_STEPS.get(type(error), f'check the connection, and {STATUS}')}\n"
        f"try it by hand: {command}\n"
        f"what arrived is kept in {cache_dir}; the same call goes on from there"
    )


def too_large(files: Iterable[RemoteFile], repo_id: str, commit: str, cache_dir: object) -> ModelDownloadError | None:
    """The error for the first file that the Hub would refuse over HTTP; a client that speaks Xet may have it."""
    for file in files:
        if file.size > MOST_BY_HTTP:
            words = ["hf", "download", repo_id, "--revision", commit, "--include", file.path]
            return ModelDownloadError(
                f"{file.path} has {file.size / 1e9:.1f} GB, and the Hub gives no file over 50 GB by HTTP",
                hint=f"{shlex.join([*words, '--cache-dir', str(cache_dir)])}\n"
                "then the same call again: it finds the file there",
            )
    return None
