"""The seam against a pool whose answers are values: what is asked where, with which headers, and what comes of it."""

from __future__ import annotations

import io
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import urllib3
from huggingface_hub import constants

from phaita_loader._url import host
from phaita_loader.errors import AccessDenied, Corrupt, NotCached, NotFound
from phaita_loader.hub import Body, Hub
from phaita_loader.listing import RemoteFile
from phaita_loader.retry import Transient
from tests.unit.fakes import COMMIT, SIGNED

FIRST, SECOND, THIRD = "https://first.test", "https://second.test", "https://third.test/hf"
TOKEN = "hf_secret"
CONFIG = RemoteFile("config.json", 2, "a" * 40, "git-sha1")
INFO = {"sha": COMMIT, "siblings": [{"rfilename": CONFIG.path, "size": CONFIG.size, "blobId": CONFIG.digest}]}


def response(status: int = 200, body: Any = b"{}", **headers: str) -> urllib3.HTTPResponse:
    """A body of bytes, or of what is to be JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.HTTPResponse(io.BytesIO(raw), named, status, preload_content=False)


def error(status: int, code: str = "", message: str = "") -> urllib3.HTTPResponse:
    return response(status, X_Error_Code=code, X_Error_Message=message)


REFUSED = urllib3.exceptions.ProtocolError("broken", ConnectionResetError())


@dataclass
class ScriptedPool:
    """Gives every host its answer, made anew for each request; an exception is raised. `asked` is what came."""

    answers: dict[str, Callable[[str], urllib3.HTTPResponse | Exception]]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def request(self, method: str, url: str, *, headers: dict[str, str], **options: Any) -> urllib3.HTTPResponse:
        assert (method, options["redirect"], options["retries"]) == ("GET", False, False)
        self.asked.append((url, headers))
        answer = self.answers[host(url)](url)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def hosts(self) -> list[str]:
        return [host(url).removesuffix(".test") for url, _ in self.asked]


def hub_of(pool: ScriptedPool, *endpoints: str, token: str | bool | None = False) -> Hub:
    return Hub(endpoints or (FIRST, SECOND), token=token, pool=pool)


def listed(hub: Hub, revision: str = "main") -> Any:
    return hub.listing("org/name", revision, timeout=5.0)


def opened(hub: Hub, location: str | None = None) -> Body:
    return hub.open_file("org/name", COMMIT, CONFIG, 0, location=location, connect=1.0, stall=1.0)


def served(url: str) -> urllib3.HTTPResponse:
    """As the Hub answers, to everything."""
    return response(body=INFO) if "/api/" in url else response(body=b"{}", Content_Length="2")


def always(make: Callable[[], urllib3.HTTPResponse | Exception]) -> Callable[[str], urllib3.HTTPResponse | Exception]:
    return lambda _: make()


FAILING = {
    "reset": always(lambda: REFUSED),
    "503": always(lambda: error(503)),
    "429": always(lambda: response(429, Retry_After="3600")),
    "an HTML page": always(lambda: response(body=b"<html>", Content_Type="text/html")),
    "half a listing": always(lambda: response(body=b'{"sha": "ccc', Content_Length="40")),
    "no listing": always(lambda: response(body={})),
    "no commit": always(lambda: response(body={"siblings": []})),
    "a path that leaves": always(lambda: response(body=INFO | {"siblings": [{"rfilename": "../x"}]})),
    "redirects": always(lambda: response(302, Location="/again")),
}


@pytest.mark.parametrize("how", FAILING)
def test_a_failing_endpoint_is_left_for_the_next(how: str, caplog: pytest.LogCaptureFixture) -> None:
    pool = ScriptedPool({"first.test": FAILING[how], "second.test": served})
    hub = hub_of(pool)
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        found = listed(hub)
    assert (found.files, found.endpoint) == ((CONFIG,), SECOND)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "second.test" in caplog.text
    before = len(pool.asked)
    opened(hub).close()
    assert pool.hosts[before:] == ["second"], "the first is not tried at every call"


def test_the_first_endpoint_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        assert listed(hub_of(ScriptedPool({"first.test": served}))).endpoint == FIRST
    assert not caplog.records


def test_when_all_have_failed_the_first_is_asked_again() -> None:
    up: set[str] = set()
    pool = ScriptedPool(
        {name: lambda url: served(url) if host(url) in up else REFUSED for name in ("first.test", "second.test")}
    )
    hub = hub_of(pool)
    with pytest.raises(Transient):
        listed(hub)
    up.add("first.test")
    assert listed(hub).endpoint == FIRST
    assert pool.hosts == ["first", "second", "first"]


def test_the_round_goes_on_with_the_first() -> None:
    """Nobody waits for an endpoint that fails while one that once failed may be back."""
    down = {"first.test"}
    pool = ScriptedPool(
        {name: lambda url: REFUSED if host(url) in down else served(url) for name in ("first.test", "second.test")}
    )
    hub = hub_of(pool)
    listed(hub)
    down.symmetric_difference_update({"first.test", "second.test"})
    assert listed(hub).endpoint == FIRST
    assert pool.hosts == ["first", "second", "second", "first"]


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (401, AccessDenied), (403, AccessDenied)])
def test_what_the_first_endpoint_refuses_is_refused(status: int, kind: type[Exception]) -> None:
    pool = ScriptedPool({"first.test": always(lambda: error(status)), "second.test": served})
    for call in (listed, opened):
        with pytest.raises(kind):
            call(hub_of(pool))
    assert pool.hosts == ["first", "first"]


def test_a_mirror_that_listed_a_commit_is_believed() -> None:
    pool = ScriptedPool({"first.test": always(lambda: REFUSED), "second.test": served})
    hub = hub_of(pool)
    listed(hub)
    pool.answers["second.test"] = always(lambda: error(404, "EntryNotFound"))
    with pytest.raises(NotFound, match="file"):
        opened(hub)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_mirror_that_lacks_what_the_first_listed_is_left(status: int) -> None:
    """It may be behind."""
    down: set[str] = set()
    pool = ScriptedPool(
        {
            "first.test": lambda url: REFUSED if down else served(url),
            "second.test": always(lambda: error(status)),
            "third.test": served,
        }
    )
    hub = hub_of(pool, FIRST, SECOND, THIRD)
    listed(hub)
    down.add("first.test")
    opened(hub).close()
    assert pool.hosts == ["first", "first", "second", "third"]
    assert pool.asked[-1][0] == f"{THIRD}/org/name/resolve/{COMMIT}/config.json"


def test_a_repo_that_no_mirror_has_may_yet_be_on_the_first() -> None:
    pool = ScriptedPool({"first.test": always(lambda: REFUSED), "second.test": always(lambda: error(404))})
    with pytest.raises(Transient, match="first"):
        listed(hub_of(pool))


def test_the_shortest_wait_is_the_one_to_keep() -> None:
    pool = ScriptedPool({"first.test": FAILING["429"], "second.test": always(lambda: response(429, Retry_After="7"))})
    with pytest.raises(Transient) as caught:
        listed(hub_of(pool))
    assert caught.value.retry_after == 7.0


def authorised(pool: ScriptedPool) -> set[str]:
    return {host(url) for url, headers in pool.asked if any(name.lower() == "authorization" for name in headers)}


def test_the_token_goes_to_the_first_endpoint_only() -> None:
    pool = ScriptedPool({"first.test": FAILING["503"], "second.test": served})
    hub = hub_of(pool, token=TOKEN)
    listed(hub)
    opened(hub).close()
    assert set(pool.hosts) == {"first", "second"}
    assert authorised(pool) == {"first.test"}
    assert TOKEN not in repr(hub)


def test_a_password_in_an_endpoint_goes_there_and_is_not_shown() -> None:
    pool = ScriptedPool(
        {"first.test": lambda url: response(302, Location="https://second.test/x"), "second.test": served}
    )
    hub = hub_of(pool, "https://user:hf_p%40ss@first.test")
    opened(hub).close()
    assert pool.asked[0][1]["Authorization"] == "Basic dXNlcjpoZl9wQHNz"
    assert authorised(pool) == {"first.test"}
    pool.answers["first.test"] = served
    assert "hf_p" not in repr(hub) + repr(listed(hub))


HOPS = [
    # Within the Hub (its resolver cache) the token goes along, to anybody else it does not, nor back again.
    ("/elsewhere", True),
    ("https://first.test:443/x", True),
    ("https://first.test:8443/x", False),
    ("https://second.test/x", False),
    ("//second.test/x", False),
    ("https://first.test@second.test/x", False),
    ("https://first.test.second.test/x", False),
]


@pytest.mark.parametrize(("location", "along"), HOPS)
def test_who_sees_the_token_after_a_redirect(location: str, along: bool) -> None:
    hops = iter([response(307, Location=location, Set_Cookie="a=b; Domain=test")])
    give = always(lambda: next(hops, served("")))
    pool = ScriptedPool(dict.fromkeys(["first.test", "second.test", "first.test.second.test"], give))
    body = opened(hub_of(pool, FIRST, token=TOKEN))
    (_, before), (url, after) = pool.asked
    assert before["Authorization"] == f"Bearer {TOKEN}"
    assert ("Authorization" in after) is along
    assert "Cookie" not in after
    assert "@" not in url
    assert body.location == (None if along else url)


BAD_HOPS = [
    "file:///etc/passwd",
    "ftp://first.test/x",
    "http://first.test/x",
    "data:,x",
    "javascript:1",
    "https://",
    "https:///x",
    "https://[",
    "https://[::1",
    "https://first.test:99999/x",
    "https://first.test:x/",
    "",
]


@pytest.mark.parametrize("location", BAD_HOPS)
@pytest.mark.parametrize("call", [listed, opened])
def test_where_no_redirect_may_lead(call: Callable[[Hub], Any], location: str) -> None:
    pool = ScriptedPool({"first.test": lambda _: response(302, Location=location)})
    with pytest.raises(Transient, match="redirects"):
        call(hub_of(pool, FIRST))
    assert set(pool.hosts) == {"first"}


def test_a_signed_location_is_used_as_it_is() -> None:
    pool = ScriptedPool({"cdn.test": served})
    body = opened(hub_of(pool, token=TOKEN), SIGNED)
    assert (body.location, body.host) == (SIGNED, "cdn.test")
    assert (pool.asked[0][0], authorised(pool)) == (SIGNED, set())


def test_a_location_that_fails_is_not_the_endpoints_failing() -> None:
    pool = ScriptedPool({"cdn.test": always(lambda: error(403)), "first.test": served})
    hub = hub_of(pool)
    with pytest.raises(Transient):
        opened(hub, SIGNED)
    opened(hub).close()
    assert pool.hosts == ["cdn", "first"]


def test_an_endpoint_is_left_for_what_it_sent() -> None:
    pool = ScriptedPool({"first.test": served, "second.test": served})
    hub = hub_of(pool)
    body = opened(hub)
    for _ in range(2):  # by two files, say
        hub.leave(body.endpoint)
    assert opened(hub).endpoint == SECOND
    hub.leave(None)
    assert pool.hosts == ["first", "second"]
    assert opened(hub).endpoint == SECOND


def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ScriptedPool({})
    for hub in (hub_of(pool).as_offline(), Hub(FIRST, offline=True, pool=pool)):
        for call in (listed, opened):
            with pytest.raises(NotCached):
                call(hub)


def test_a_hub_crosses_processes_with_what_it_has_learnt() -> None:
    hub = Hub([FIRST, SECOND], token=TOKEN)
    hub.leave(FIRST)
    twin = pickle.loads(pickle.dumps(hub))
    assert list(twin._endpoints._round()) == [SECOND, FIRST]
    assert repr(twin) == repr(hub)


@pytest.mark.parametrize("endpoint", ["", "hub.test", "ftp://hub.test", "https://", "https://h:x/", "https://["])
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Hub([endpoint])


def test_an_endpoint_named_twice_is_asked_once() -> None:
    assert Hub([FIRST, f"{FIRST}/"]).endpoints == (FIRST,)


def test_a_token_that_is_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    pool = ScriptedPool({"first.test": served})
    with pytest.raises(AccessDenied, match="no token"):
        listed(hub_of(pool, FIRST, token=True))
    assert not pool.asked
    listed(hub_of(pool, FIRST, token=None))
    assert not authorised(pool)


@pytest.mark.parametrize("spelt", ["hf_a b", "hf_\u00e4", "hf_a\r\nX: y"])
def test_a_token_of_the_environment_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    monkeypatch.setenv("HF_TOKEN", spelt)
    with pytest.raises((AccessDenied, ValueError)) as caught:
        listed(hub_of(ScriptedPool({"first.test": served}), FIRST, token=None))
    assert "hf_a" not in str(caught.value)


def test_the_library_is_not_made_to_ask_about_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """`build_hf_headers` asks the Hub for a list of coding agents once a day, and waits for the answer."""
    monkeypatch.setattr("huggingface_hub.utils._headers.detect_agent", lambda: pytest.fail("asked"))
    pool = ScriptedPool({"first.test": served})
    hub = hub_of(pool, FIRST)
    listed(hub)
    opened(hub).close()
    agents = {headers["User-Agent"] for _, headers in pool.asked}
    assert len(agents) == 1
    assert agents.pop().startswith("phaita-loader/")


def test_corrupt_everywhere_is_what_the_first_said() -> None:
    pool = ScriptedPool({"first.test": FAILING["no commit"], "second.test": always(lambda: error(404))})
    with pytest.raises(Corrupt):
        listed(hub_of(pool))
