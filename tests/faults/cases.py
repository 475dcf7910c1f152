"""Every case there is: scenarios x contenders x lanes."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults import lane as lanes
from tests.faults.scenario import Scenario, in_order, read_all


@dataclass(frozen=True)
class Case:
    """A scenario as its lane runs it, and the contender that runs it."""

    scenario: Scenario
    contender: str
    lane: str

    @property
    def name(self) -> str:
        """The name that `-k` selects by."""
        return f"{self.scenario.name}-{self.contender}"


def planned(lane: str | None = None) -> tuple[Case, ...]:
    """The cases of one lane; without one all of the quick lane, and the few of the proxy lane that say most."""
    every = read_all()
    if lane is None:
        by_lane = {"quick": every, "proxy": lanes.scenarios(every, "proxy", telling=True)}
    else:
        by_lane = {lane: lanes.scenarios(every, lane)}
    where = {scenario.name: name for name, scenarios in by_lane.items() for scenario in scenarios}
    ordered = in_order(scenario for scenarios in by_lane.values() for scenario in scenarios)
    return tuple(Case(one, contender, where[one.name]) for one in ordered for contender in one.contenders)
