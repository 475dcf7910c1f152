"""The matrix: every scenario, every contender. Our loader has to meet what is expected; the others are reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import case, prepare
from tests.faults.cases import Case, planned
from tests.faults.plugin import OUTCOME
from tests.faults.report import OURS
from tests.faults.server import Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case of the lanes that are asked for."""
    cases = planned(metafunc.config.getoption("lane", default=None))
    metafunc.parametrize("played", [pytest.param(one, id=one.name) for one in cases])


@pytest.mark.faults
@pytest.mark.torch
def test_case(played: Case, toxiproxy: Server, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    outcome = case.run(played, prepare.repo(played), toxiproxy, tmp_path)
    record_property(OUTCOME, outcome.as_dict())
    if played.contender == OURS:
        unmet = outcome.unmet(played.scenario.expect)
        assert not unmet, "; ".join(unmet)
