"""The cases of a run, by lane."""

from __future__ import annotations

from tests.faults.cases import planned
from tests.faults.lane import TELLING
from tests.faults.scenario import read_all


def test_a_usual_run_has_every_case_of_the_quick_lane_and_a_few_of_the_proxy_lane() -> None:
    cases = planned()
    quick = [case for case in cases if case.lane == "quick"]
    assert len(quick) == sum(len(scenario.contenders) for scenario in read_all())
    names = {case.scenario.name for case in cases if case.lane == "proxy"}
    assert names == {f"proxy_{name}" for name in TELLING}


def test_names_are_unique_and_a_lane_has_its_own_cases_only() -> None:
    for lane in (None, "quick", "proxy", "live"):
        cases = planned(lane)
        assert len({case.name for case in cases}) == len(cases) > 0
        assert lane is None or {case.lane for case in cases} == {lane}
