"""The times at which a fault begins and ends, and its parts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.injector import FaultInjector
from tests.faults.scenario import Scenario
from tests.faults.schema import Expect, Lift, Toxic

CUT = Toxic("limit_data", attributes={"bytes": 100})


class Wires:
    """Stands in for the proxies and their server."""

    def __init__(self) -> None:
        self.story: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda origins, *_: self.story.append(f"{name} {'+'.join(origins)}")

    def check(self) -> None:
        """Alive."""


def story(scenario: Scenario, *seconds: float) -> list[str]:
    wires = Wires()
    injector = FaultInjector(scenario, wires, wires)  # type: ignore[arg-type]  # fake wires
    injector.begin()
    for elapsed in seconds:
        injector.tick(elapsed)
    return wires.story


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"toxics": (CUT,)}, ["disturb hub+cdn"]),
        ({"toxics": (CUT,), "lift": Lift(after_seconds=1.0)}, ["disturb hub+cdn", "clear hub+cdn"]),
        ({"down": True, "on": "hub", "lift": Lift(after_seconds=1.0)}, ["disturb hub", "refuse hub", "accept hub"]),
        (
            {"down": True, "on": "cdn", "toxics": (CUT,), "lift": Lift(after_seconds=1.0, for_seconds=1.0)},
            ["disturb cdn", "refuse cdn", "accept cdn", "refuse cdn", "accept cdn"],
        ),
        (
            {"toxics": (CUT,), "lift": Lift(after_seconds=1.0, for_seconds=1.0)},
            ["disturb hub+cdn", "clear hub+cdn", "disturb hub+cdn", "clear hub+cdn"],
        ),
    ],
)
def test_what_comes_and_goes(words: dict[str, Any], told: list[str]) -> None:
    assert story(Scenario("case", "t", Expect("loaded"), **words), 0.5, 0.9, 1.1, 1.9, 2.1, 2.2, 3.1) == told
