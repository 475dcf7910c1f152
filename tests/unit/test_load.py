"""The deadline of a load, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from phaita_loader import DeadlineExceeded, ModelRequest, Policy, load
from phaita_loader.policy import Deadline
from tests.unit.fakes import FakeClock, FakeHub

CONFIG = ModelRequest("org/name", kind="config")


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    hub.repo = {"config.json": b'{"model_type": "gpt2"}'}
    return hub


@pytest.mark.torch
def test_nothing_is_asked_after_the_deadline(hub: FakeHub, clock: FakeClock) -> None:
    with pytest.raises(DeadlineExceeded, match="'fetch'") as caught:
        load(CONFIG, hub=hub, clock=clock.clock, deadline=Deadline(clock.at))
    assert caught.value.request == CONFIG
    assert (hub.asked, hub.opened) == ([], [])


@pytest.mark.torch
def test_the_deadline_is_looked_at_between_the_steps(hub: FakeHub, clock: FakeClock) -> None:
    def late(event: object) -> None:
        clock.at += 100.0 if type(event).__name__ == "Done" else 0.0

    with pytest.raises(DeadlineExceeded, match="'verify'") as caught:
        load(CONFIG, hub=hub, clock=clock.clock, deadline=Deadline(clock.at + 50.0), listen=late)
    assert caught.value.elapsed == pytest.approx(100.0)


@pytest.mark.torch
def test_it_stands_in_for_that_of_the_policy(hub: FakeHub, clock: FakeClock) -> None:
    clock.tick = 1.0
    with pytest.raises(DeadlineExceeded):
        load(CONFIG, hub=hub, clock=clock.clock, policy=Policy(deadline=0.5))
    loaded = load(CONFIG, hub=hub, clock=clock.clock, policy=Policy(deadline=0.5), deadline=Deadline())
    assert loaded.config.model_type == "gpt2"
    assert list(loaded.timings) == ["fetch", "verify", "config"]


@pytest.mark.parametrize("seconds", [3, 3.0, "soon"])
def test_seconds_are_the_policys(hub: FakeHub, seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"Policy\(deadline="):
        load(CONFIG, hub=hub, deadline=seconds)
    assert hub.asked == []
