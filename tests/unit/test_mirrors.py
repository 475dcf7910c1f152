"""Several endpoints: the choice among them, the switch to the next, and whose answer counts."""

from __future__ import annotations

import logging
import pickle

import pytest

from phaita_loader._http.url import host
from phaita_loader.errors import AccessDenied, Corrupt, NotFound
from phaita_loader.hub import Hub
from phaita_loader.retry import Transient
from tests.unit.fakes import COMMIT, SIGNED
from tests.unit.scripted import (
    CONFIG,
    FAILING,
    FIRST,
    REFUSED,
    SECOND,
    THIRD,
    TOKEN,
    ScriptedPool,
    always,
    error,
    hub_of,
    listed,
    opened,
    response,
    served,
)


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
    """An endpoint that failed before may be back; a failing one is not waited for meanwhile."""
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


def test_corrupt_everywhere_is_what_the_first_said() -> None:
    pool = ScriptedPool({"first.test": FAILING["no commit"], "second.test": always(lambda: error(404))})
    with pytest.raises(Corrupt):
        listed(hub_of(pool))
