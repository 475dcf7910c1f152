"""The classification of failures: worth another attempt (Transient), or final. Small predicates, one table of tests.

Messages are made here from the parts that are safe to show: a foreign exception's text can hold a signed URL.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

import urllib3.exceptions as u3

from phaita_loader._hints import ANONYMOUS, LOGIN, STATUS, TRUST
from phaita_loader.errors import (
    AccessDenied,
    ModelDownloadError,
    NotFound,
    RateLimited,
    StorageError,
    Unreachable,
)
from phaita_loader.retry import Transient

__all__ = ["Sender", "network_failure", "retry_after", "status_failure", "storage_failure"]

Sender: TypeAlias = Literal["hub", "cdn"]

_NAMED = "that HTTPS_PROXY, HTTP_PROXY or the system names"
_BAD_TOKEN = re.compile(r"invalid (credentials|token|access token)|token.*\b(expired|revoked)", re.IGNORECASE)


def status_failure(status: int, headers: Mapping[str, str], sender: Sender, now: datetime) -> Exception:
    """Return the error for a response that is neither a body nor a redirect; `now` turns an HTTP-date into seconds."""
    if sender == "cdn" and status < 500 and not _is_passing(status):
        # A CDN has no accounts: its refusal means that the signed URL expired, and the Hub gives a new one.
        return Transient(f"the CDN refused the signed URL ({status})")
    if _is_passing(status) or not 400 <= status < 500:
        final = RateLimited if status == 429 else Unreachable
        return Transient(f"the {_name(sender)} answered {status}", final=final, retry_after=retry_after(headers, now))
    return _permanent(status, headers.get("X-Error-Code", ""), headers.get("X-Error-Message", ""))


def _is_passing(status: int) -> bool:
    """True for the 4xx that are about the moment, the connection or the range, and not about the file."""
    return status in {408, 416, 421, 425, 429}


def _permanent(status: int, code: str, message: str) -> ModelDownloadError:
    # The Hub sends no error code with a bad token; its message alone tells.
    if status == 401 and not code and _BAD_TOKEN.search(message):
        return AccessDenied("the Hub says that the token is not valid", hint=f"{ANONYMOUS}\nelse: {LOGIN}")
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
        # The Hub answers 401 for a private repo too, which hides that it exists; anonymous calls get no code.
        return NotFound(
            "there is no such repo, or this token may not see it", hint=f"check the name\nif private: {LOGIN}"
        )
    if status == 407:
        return _proxy_denied()
    if status == 451:
        return AccessDenied("the Hub may not give it here, for legal reasons (451)", hint="its page may say why")
    if status in {401, 403}:
        return AccessDenied(f"the Hub denied access ({status})", hint=LOGIN)
    return ModelDownloadError(f"the Hub rejected the request ({status})", hint=f"see {STATUS}")


def _proxy_denied() -> AccessDenied:
    return AccessDenied("the proxy asks for a user and password", hint="set HTTPS_PROXY=http://user:password@host:port")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that the server asks to wait, if it does.

    They are those of `Retry-After` (seconds or HTTP-date), else of an exhausted `RateLimit`.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    if value:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    # The Hub says so before it answers 429; t is the seconds until the window ends.
    spent = re.search(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("RateLimit", ""))
    return float(spent[1]) if spent else None


def network_failure(error: BaseException, host: str) -> Exception:
    """Return the error for a request that got no response, or one that broke off."""
    causes = _chain(error)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Unreachable(f"the TLS certificate of {host} is not trusted", hint=TRUST)
    # A firewall refuses a connection with the same error as a file system refuses a file.
    connecting = any(isinstance(cause, u3.NewConnectionError) for cause in causes)
    if not connecting and any(isinstance(cause, FileNotFoundError | PermissionError) for cause in causes):
        return Unreachable("the CA file for TLS can't be read", hint="check SSL_CERT_FILE and SSL_CERT_DIR")
    if any(_is_proxy_denial(cause) for cause in causes):
        return _proxy_denied()
    if any(isinstance(cause, u3.LocationValueError) for cause in causes):
        return Unreachable(f"{host!r} is not a valid address", hint="check HF_ENDPOINT and the proxy variables")
    return Transient(_describe(causes, host))


def _is_proxy_denial(cause: BaseException) -> bool:
    """True for a proxy's refusal of a CONNECT: the clients raise it as an error, whose text alone has the status."""
    return re.match(r"(Tunnel connection failed: )?407\b", str(cause)) is not None


def _describe(causes: list[BaseException], host: str) -> str:
    if any(isinstance(cause, u3.ProxyError) for cause in causes):
        # All other causes then happened on the way to the proxy.
        gone = any(isinstance(cause, u3.ConnectTimeoutError | u3.NewConnectionError) for cause in causes)
        return f"the proxy {_NAMED} can't be reached" if gone else f"the proxy does not reach {host}"
    # The first row that fits wins: urllib3 wraps a cause in several exceptions, the plainest comes first.
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
    """Return the error for a cache that can't be written."""
    reason = error.strerror or type(error).__name__
    hint = "check who owns the folder and how its disk is mounted"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        hint = "free some space"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        hint = "close files, or allow the process more of them (ulimit -n)"
    return StorageError(f"can't write in {folder}: {reason}", hint=f"{hint}\nor set HF_HOME to another place")


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and every exception that it wraps, however its library chains them."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        current = todo.pop()
        # urllib3's `reason` is an exception, that of ssl a string.
        if not isinstance(current, BaseException) or any(current is seen for seen in found):
            continue
        found.append(current)
        todo += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return found


def _name(sender: Sender) -> str:
    return "Hub" if sender == "hub" else "CDN"
