"""The matrix: every scenario, every contender. Our loader has to meet what is expected; the others are reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import case, prepare
from tests.faults.plugin import OUTCOME
from tests.faults.report import OURS
from tests.faults.scenario import Scenario, read_all
from tests.faults.server import Server

CASES = [
    pytest.param(scenario, contender, id=f"{scenario.name}-{contender}")
    for scenario in read_all()
    for contender in scenario.contenders
]


@pytest.mark.faults
@pytest.mark.torch
@pytest.mark.parametrize(("scenario", "contender"), CASES)
def test_case(
    scenario: Scenario,
    contender: str,
    toxiproxy: Server,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    outcome = case.run(scenario, contender, prepare.repo(scenario), toxiproxy, tmp_path)
    record_property(OUTCOME, outcome.as_dict())
    if contender == OURS:
        unmet = outcome.unmet(scenario.expect)
        assert not unmet, "; ".join(unmet)
