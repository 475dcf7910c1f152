from __future__ import annotations

import errno
import re
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import urllib3.exceptions as u3
from hypothesis import given
from hypothesis import strategies as st
from urllib3._collections import HTTPHeaderDict

from phaita_loader._classify import (
    Sender,
    network_failure,
    retry_after,
    status_failure,
    storage_failure,
)
from phaita_loader._hints import too_large
from phaita_loader.errors import (
    AccessDenied,
    LoaderError,
    ModelDownloadError,
    NotFound,
    RateLimited,
    StorageError,
    Unreachable,
)
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient
from tests.unit.fakes import COMMIT, SIGNED, listed

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

STATUSES: list[tuple[int, str, Sender, type[Exception]]] = [
    # The Hub's own word for it comes before the status, which says less.
    (401, "RepoNotFound", "hub", NotFound),
    (404, "RepoNotFound", "hub", NotFound),
    (404, "RevisionNotFound", "hub", NotFound),
    (404, "EntryNotFound", "hub", NotFound),
    (403, "GatedRepo", "hub", AccessDenied),
    (401, "GatedRepo", "hub", AccessDenied),
    # Without a word.
    (401, "", "hub", AccessDenied),
    (403, "", "hub", AccessDenied),
    (451, "", "hub", AccessDenied),
    (404, "", "hub", NotFound),
    (410, "", "hub", NotFound),
    (407, "", "hub", AccessDenied),
    (400, "", "hub", ModelDownloadError),
    # Time heals these.
    (408, "", "hub", Transient),
    (425, "", "hub", Transient),
    (429, "", "hub", Transient),
    (500, "", "hub", Transient),
    (502, "", "hub", Transient),
    (503, "", "hub", Transient),
    (504, "", "hub", Transient),
    # The connection or the range was wrong, and not the request.
    (416, "", "hub", Transient),
    (421, "", "hub", Transient),
    # Nobody asked for these: something on the way is not what it should be.
    (204, "", "hub", Transient),
    (302, "", "hub", Transient),
    (304, "", "hub", Transient),
    (999, "", "hub", Transient),
    # The captive portal's own status.
    (511, "", "hub", Transient),
    # A CDN knows no accounts: its refusals speak of the signed URL, and a new one can be had.
    (401, "", "cdn", Transient),
    (403, "", "cdn", Transient),
    (404, "", "cdn", Transient),
    (410, "", "cdn", Transient),
    (400, "", "cdn", Transient),
    (416, "", "cdn", Transient),
    (429, "", "cdn", Transient),
    (503, "", "cdn", Transient),
]


@pytest.mark.parametrize(("status", "code", "origin", "error"), STATUSES)
def test_status(status: int, code: str, origin: Sender, error: type[Exception]) -> None:
    # The servers spell their header names as they like.
    found = status_failure(status, HTTPHeaderDict({"x-error-code": code}), origin, NOW)
    assert type(found) is error
    if isinstance(found, LoaderError) and code != "EntryNotFound":
        assert found.hint, "a person must be told what to do"


MESSAGES: list[tuple[int, str, str, type[Exception], str]] = [
    # A public repo needs no token, and a bad one shuts it: the way out is to send none.
    (401, "", "Invalid credentials in Authorization header", AccessDenied, "not valid"),
    # What an anonymous call for a missing or private repo gets.
    (401, "", "Invalid username or password.", NotFound, "no such repo"),
    (401, "", 'User Access Token "x" is expired', AccessDenied, "not valid"),
    (401, "RepoNotFound", "Invalid username or password.", NotFound, "no such repo"),
    (401, "GatedRepo", "Access to model x is restricted.", AccessDenied, "gated"),
    (403, "GatedRepo", "Access to model x is restricted.", AccessDenied, "gated"),
    (403, "", "Access to this resource is disabled.", AccessDenied, "disabled"),
    (403, "", "Forbidden", AccessDenied, "denied access"),
    (451, "", "", AccessDenied, "legal"),
]


@pytest.mark.parametrize(("status", "code", "message", "error", "told"), MESSAGES)
def test_what_the_hub_says(status: int, code: str, message: str, error: type[Exception], told: str) -> None:
    headers = HTTPHeaderDict({"X-Error-Code": code, "X-Error-Message": message})
    found = status_failure(status, headers, "hub", NOW)
    assert isinstance(found, error)
    assert told in str(found)
    if told == "not valid":
        assert "token=False" in str(found)


@pytest.mark.parametrize(
    ("status", "final"), [(429, RateLimited), (503, Unreachable), (408, Unreachable), (500, Unreachable)]
)
def test_what_patience_ends_in(status: int, final: type[Exception]) -> None:
    found = status_failure(status, HTTPHeaderDict({"Retry-After": "7"}), "hub", NOW)
    assert isinstance(found, Transient)
    assert (found.final, found.retry_after, found.creditable) == (final, 7.0, True)


WAITS = [
    ({}, None),
    ({"Retry-After": "120"}, 120.0),
    ({"retry-after": " 0 "}, 0.0),
    ({"Retry-After": "Tue, 24 Nov 2026 12:01:30 GMT"}, 90.0),
    # Old servers write dates without a zone, which is GMT all the same.
    ({"Retry-After": "Tue, 24 Nov 2026 12:00:10 -0000"}, 10.0),
    ({"Retry-After": "Tuesday, 24-Nov-26 12:00:10 GMT"}, 10.0),
    ({"Retry-After": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0.0),
    # Nonsense is no wish.
    ({"Retry-After": "soon"}, None),
    ({"Retry-After": "-5"}, None),
    ({"Retry-After": ""}, None),
    ({"Retry-After": "Mon, 99999999999999999999 Jan 2020 00:00:00 GMT"}, None),
    # The Hub's own header; only an exhausted budget asks to wait.
    ({"RateLimit": '"api";r=0;t=55'}, 55.0),
    ({"RateLimit": '"api"; r=0; t=55'}, 55.0),
    ({"RateLimit": '"api";r=12;t=55'}, None),
    ({"RateLimit": '"api";r=10;t=55, "resolvers";r=0;t=20'}, 20.0),
    ({"Retry-After": "3", "RateLimit": '"api";r=0;t=55'}, 3.0),
]


@pytest.mark.parametrize(("headers", "seconds"), WAITS, ids=str)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(HTTPHeaderDict(headers), NOW) == seconds


DATES = st.from_regex(r"([A-Z][a-z]{2}, )?-?[0-9]{1,20} (Jan|Feb|Dez) [0-9]{1,20} [0-9]{1,3}:[0-9]{2}(:[0-9]{2})?.*")


@given(st.text(max_size=20) | DATES)
def test_no_header_breaks_it(value: str) -> None:
    seconds = retry_after({"Retry-After": value}, NOW)
    assert seconds is None or seconds >= 0.0


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


POOL: Any = None  # the errors only keep it
NETWORK: list[tuple[Exception, str]] = [
    (u3.ProtocolError("broken", ConnectionResetError(errno.ECONNRESET, "reset")), "reset the connection"),
    (u3.ProtocolError("broken", BrokenPipeError()), "reset the connection"),
    (ConnectionResetError(), "reset the connection"),
    (u3.IncompleteRead(3, 5), "closed the connection early"),
    # urllib3 wraps a refused connection into its connect timeout's base class.
    (wrapped(u3.NewConnectionError(POOL, "failed"), ConnectionRefusedError()), "refused the connection"),
    (u3.ConnectTimeoutError(POOL, "timed out"), "can't be reached"),
    (u3.ReadTimeoutError(POOL, SIGNED, "Read timed out."), "fell silent"),
    (TimeoutError("timed out"), "fell silent"),
    # A phone without a network can't look names up, and may have one again in ten seconds.
    (wrapped(u3.HTTPError("failed"), socket.gaierror(-3, "Temporary failure")), "can't be looked up"),
    (u3.NameResolutionError("host.test", POOL, socket.gaierror(-2, "Name or service not known")), "can't be looked up"),
    (u3.ProxyError("Unable to connect to proxy", OSError("Tunnel connection failed: 502")), "does not reach host.test"),
    (u3.ProxyError("Unable to connect to proxy", u3.NewConnectionError(POOL, "x")), "HTTPS_PROXY"),
    (u3.ProxyError("no", u3.NameResolutionError("proxy.test", POOL, socket.gaierror(-2, "?"))), "HTTPS_PROXY"),
    (u3.MaxRetryError(POOL, SIGNED, u3.ProtocolError("x", ConnectionResetError())), "reset the connection"),
    (u3.SSLError(ssl.SSLEOFError(8, "EOF occurred")), "TLS with host.test broke"),
    (u3.ProtocolError(f"weird {SIGNED}"), "broke"),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "broke"),
    # A firewall's refusal, which is not a CA file's.
    (
        wrapped(u3.NewConnectionError(POOL, "x"), PermissionError(errno.EPERM, "no")),
        "can't be reached",
    ),
]


@pytest.mark.parametrize(("error", "told"), NETWORK, ids=lambda value: str(value)[:40])
def test_network(error: Exception, told: str) -> None:
    found = network_failure(error, "host.test")
    assert isinstance(found, Transient)
    assert told in found.cause


PERMANENT = [
    # Waiting makes no certificate trusted.
    (u3.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed")), "SSL_CERT_FILE"),
    (u3.MaxRetryError(POOL, "/", u3.SSLError(ssl.SSLCertVerificationError(1, "no"))), "SSL_CERT_FILE"),
    (u3.LocationParseError("http://["), "HF_ENDPOINT"),
    (FileNotFoundError(errno.ENOENT, "No such file"), "SSL_CERT_FILE"),
]


@pytest.mark.parametrize(("error", "hint"), PERMANENT, ids=lambda value: str(value)[:40])
def test_network_failures_that_time_does_not_heal(error: Exception, hint: str) -> None:
    found = network_failure(error, "host.test")
    assert isinstance(found, Unreachable)
    assert hint in found.hint


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = u3.HTTPError("one"), u3.HTTPError("two")
    one.__context__, two.__context__ = two, one
    assert isinstance(network_failure(one, "host.test"), Transient)


SECRET = re.compile(r"Signature|5ec2e7|hf_|\?|://cdn")


@pytest.mark.parametrize("error", [row[0] for row in NETWORK + PERMANENT], ids=lambda value: str(value)[:40])
def test_no_message_shows_a_signed_url(error: Exception) -> None:
    found = network_failure(error, "host.test")
    assert not SECRET.search(str(found) + repr(found))


@pytest.mark.parametrize(("status", "code", "origin", "error"), STATUSES)
def test_no_message_repeats_a_header(status: int, code: str, origin: Sender, error: type[Exception]) -> None:
    headers = HTTPHeaderDict({"X-Error-Code": code, "X-Error-Message": f"{SIGNED} hf_abc", "Location": SIGNED})
    found = status_failure(status, headers, origin, NOW)
    assert not SECRET.search(str(found) + repr(found))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_cache_that_cant_be_written(number: int) -> None:
    reason = OSError(number, "the system's reason")
    found = storage_failure(reason, "/cache")
    assert isinstance(found, StorageError)
    assert "/cache" in found.cause
    assert "the system's reason" in found.cause
    assert "HF_HOME" in found.hint


def test_a_file_that_only_xet_gives_is_refused_with_the_command_for_it() -> None:
    small, huge = listed("config.json", b"{}"), RemoteFile("big one.gguf", 50_000_000_001, "a" * 64, "sha256")
    assert too_large([small], "org/name", COMMIT, "/cache") is None
    refusal = too_large([small, replace(huge, size=huge.size - 1), huge], "org/name", COMMIT, "/my cache")
    assert type(refusal) is ModelDownloadError
    assert "big one.gguf has 50.0 GB" in refusal.cause
    command = f"hf download org/name --revision {COMMIT} --include 'big one.gguf' --cache-dir '/my cache'"
    assert refusal.hint.splitlines()[0] == command
