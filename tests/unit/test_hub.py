"""The Hub with a scripted pool: the URLs and headers that it sends, and its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import constants

from phaita_loader._http.url import host
from phaita_loader.errors import AccessDenied, NotCached
from phaita_loader.hub import Hub
from phaita_loader.retry import Transient
from tests.unit.fakes import SIGNED
from tests.unit.scripted import FAILING, FIRST, TOKEN, ScriptedPool, always, hub_of, listed, opened, response, served


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


def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ScriptedPool({})
    for hub in (hub_of(pool).as_offline(), Hub(FIRST, offline=True, pool=pool)):
        for call in (listed, opened):
            with pytest.raises(NotCached):
                call(hub)


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
