"""Answers that are no bodies: which are waited out, which end the call at once, and what never shows in either."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import traceback
from typing import Any

import pytest

from phaita_loader import (
    AccessDenied,
    Backoff,
    LoaderError,
    ModelRequest,
    NotFound,
    Policy,
    RateLimited,
    Unreachable,
    fetch,
)
from tests.hub import Answer
from tests.wires.support import MIB, NAME, QUICK, WEIGHTS, Connect, Serve, assert_whole, bodies, repo

TOKEN = "hf_SecretSecretSecret"
# One wait of this policy is longer than any test may take: who sleeps at all is found out.
SLEEPY = Policy(attempts=3, timeout=100, connect=2, backoff=Backoff(first=60))
WHERE = {
    "listing": ("hub", "/api/models/"),
    "resolve": ("hub", "/resolve/"),
    "small": ("hub", "resolve-cache"),
    "cdn": ("cdn", ""),
}


@pytest.fixture(params=WHERE)
def where(request: pytest.FixtureRequest) -> Any:
    """The source of the refusal, as an answer's `on` and `match`."""
    on, match = WHERE[request.param]
    return {"on": on, "match": match}


def test_503_twice_is_waited_out(serve: Serve, client: Connect, where: Any) -> None:
    served = repo(MIB)
    hub = serve(served)
    for _ in range(2):
        hub.answer(Answer(status=503, **where))
    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(QUICK, attempts=3))
    assert_whole(snapshot, served)
    assert 1 <= len(snapshot.attempts) <= 2, "two files may be refused in one attempt"


@pytest.mark.parametrize("asks", [{"retry_after": 1}, {"retry_date": 2}, {"headers": {"RateLimit": '"api";r=0;t=1'}}])
def test_a_wait_that_the_hub_asks_for_is_kept(serve: Serve, client: Connect, asks: Any) -> None:
    """And it stands in for the backoff, which would outlast the test."""
    hub = serve(repo(MIB))
    hub.answer(Answer(status=429, on="hub", match="/api/models/", **asks))
    snapshot = fetch(NAME, hub=client(hub), policy=SLEEPY)
    assert [0 < attempt.wait <= 2 for attempt in snapshot.attempts] == [True]


def test_a_wait_beyond_all_patience_is_said_at_once(serve: Serve, client: Connect, where: Any) -> None:
    hub = serve(repo(MIB))
    hub.answer(Answer(status=429, times=None, retry_after=3600, **where))
    with pytest.raises(RateLimited) as caught:
        fetch(NAME, hub=client(hub), policy=SLEEPY)
    assert caught.value.retry_after == pytest.approx(3600, abs=30)
    assert [attempt.wait for attempt in caught.value.attempts] == [0.0]


PERMANENT = {
    "missing repo": ("org/none", "main", False, NotFound),
    "missing repo, signed in": ("org/none", "main", TOKEN, NotFound),
    "missing revision": (NAME, "nope", False, NotFound),
    "missing commit": (NAME, "0" * 40, False, NotFound),
    "private": ("org/private", "main", False, NotFound),
    "private to others": ("org/private", "main", "hf_other", NotFound),
    "wrong token": (NAME, "main", "hf_wrong", AccessDenied),
}


@pytest.mark.parametrize("case", PERMANENT)
def test_a_permanent_refusal_is_one_request_and_no_wait(serve: Serve, client: Connect, case: str) -> None:
    name, revision, token, error = PERMANENT[case]
    hub = serve(repo(MIB), repo(MIB, "org/private", private=True), tokens={TOKEN: [], "hf_other": []})
    with pytest.raises(error) as caught:
        fetch(ModelRequest(name, revision), hub=client(hub, token=token), policy=SLEEPY)
    assert len(hub.seen) == 1
    assert caught.value.attempts == ()
    assert name in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).request == caught.value.request


def test_a_gated_repo_is_denied_at_its_first_file_and_opens_with_a_token(serve: Serve, client: Connect) -> None:
    """Its listing is public; the files under way at the same time are asked for once each."""
    served = repo(MIB, "org/gated", gated=True)
    hub = serve(served, tokens={TOKEN: ["org/gated"]})
    with pytest.raises(AccessDenied, match="gated") as caught:
        fetch("org/gated", hub=client(hub), policy=SLEEPY)
    assert caught.value.attempts == ()
    assert len(hub.seen) <= 1 + len(served.files())
    assert_whole(fetch("org/gated", hub=client(hub, token=TOKEN), policy=SLEEPY), served)


SAYS = {
    "disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}, AccessDenied, "disabled"),
    "gated, no word at the file": (403, {"X-Error-Code": "GatedRepo"}, AccessDenied, "gated"),
    "bad token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, AccessDenied, "not valid"),
    "no account": (401, {"X-Error-Message": "Invalid username or password."}, NotFound, "private"),
    "for legal reasons": (451, {}, AccessDenied, "legal"),
}


@pytest.mark.parametrize("how", SAYS)
@pytest.mark.parametrize("match", ["/api/models/", "/resolve/"])
def test_what_the_hub_says_is_told(serve: Serve, client: Connect, how: str, match: str) -> None:
    status, headers, error, told = SAYS[how]
    hub = serve(repo(MIB))
    hub.answer(Answer(on="hub", match=match, status=status, headers=headers, times=None))
    with pytest.raises(error, match=told) as caught:
        fetch(NAME, hub=client(hub), policy=SLEEPY)
    assert caught.value.attempts == ()


@pytest.mark.parametrize("status", [502, 503, 504, 421])
def test_a_proxys_own_page_is_waited_out(serve: Serve, client: Connect, status: int) -> None:
    served = repo(MIB)
    hub = serve(served)
    page: dict[str, Any] = {"body": b"<html><h1>Bad Gateway</h1></html>", "headers": {"Content-Type": "text/html"}}
    for match in ("/api/models/", "/resolve/"):
        hub.answer(Answer(on="hub", match=match, status=status, **page))
    snapshot = fetch(NAME, hub=client(hub), policy=dataclasses.replace(QUICK, attempts=3))
    assert_whole(snapshot, served)


def test_a_file_that_vanished_is_not_found(serve: Serve, client: Connect) -> None:
    hub = serve(repo(MIB))
    hub.answer(Answer(on="hub", match="resolve.*tokenizer", status=404, headers={"X-Error-Code": "EntryNotFound"}))
    with pytest.raises(NotFound):
        fetch(NAME, hub=client(hub), policy=SLEEPY)


def test_the_token_goes_to_the_hub_only(serve: Serve, client: Connect) -> None:
    hub = serve(repo(MIB, private=True), tokens={TOKEN: [NAME]})
    fetch(NAME, hub=client(hub, token=TOKEN), policy=QUICK)
    assert {(seen.origin, seen.authorised) for seen in hub.seen} == {("hub", True), ("cdn", False)}


def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(serve: Serve, client: Connect) -> None:
    hub = serve(repo(MIB, private=True), tokens={TOKEN: [NAME]})
    fetch(NAME, hub=client(hub, token=f"{TOKEN}\n"), policy=QUICK)  # as it is read from a file
    with pytest.raises(ValueError, match="token") as caught:
        client(hub, token=f"{TOKEN}\r\nX: y")
    assert TOKEN not in str(caught.value)


def test_the_token_does_not_follow_a_redirect_to_another_host(serve: Serve, client: Connect) -> None:
    hub, other = serve(repo(MIB, private=True), tokens={TOKEN: [NAME]}), serve()
    hub.answer(Answer(on="hub", match="/resolve/", status=307, headers={"Location": f"{other.url}/x"}, times=None))
    with pytest.raises(Unreachable):
        fetch(NAME, hub=client(hub, token=TOKEN), policy=QUICK)
    assert other.seen
    assert not any(seen.authorised for seen in other.seen)


@pytest.mark.parametrize("fault", [{"cut": 0}, {"status": 503}, {"expired": True}, {"portal": 302}, {"flip": 9}])
def test_no_secret_shows(serve: Serve, client: Connect, caplog: pytest.LogCaptureFixture, fault: Any) -> None:
    """Neither the token nor a signed URL, in any message, log line, repr or traceback."""
    hub = serve(repo(MIB, private=True), tokens={TOKEN: [NAME]})
    hub.answer(Answer(on="cdn", times=None, **fault))
    events: list[object] = []
    asked = client(hub, token=TOKEN)
    with caplog.at_level(logging.DEBUG, "phaita_loader"), pytest.raises(LoaderError) as caught:
        fetch(NAME, hub=asked, policy=QUICK, listen=events.append)
    told = traceback.format_exception(caught.value)
    shown = " ".join([repr(asked), repr(caught.value), str(caught.value), caplog.text, repr(events), *told])
    assert bodies(hub)
    assert TOKEN not in shown
    assert "Signature" not in shown
    assert WEIGHTS in shown or "CDN" in shown or "127.0.0.1" in shown
