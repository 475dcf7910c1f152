"""The matrix: every scenario, every contender. Our loader has to meet what is expected; the others are reported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from filelock import FileLock

from tests.faults import case, prepare
from tests.faults.build import CACHE
from tests.faults.cases import Case, planned
from tests.faults.plugin import OUTCOME
from tests.faults.report import OURS
from tests.faults.server import Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case of the lanes that are asked for."""
    cases = planned(metafunc.config.getoption("lane", default=None))
    metafunc.parametrize("matrix_case", [pytest.param(one, id=one.name) for one in cases])


@pytest.mark.faults
@pytest.mark.torch
def test_case(
    matrix_case: Case, toxiproxy: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    repo = prepare.repo(matrix_case)
    with _turn(matrix_case):
        outcome = case.run(matrix_case, repo, toxiproxy, tmp_path)
    record_property(OUTCOME, outcome.as_dict())
    if matrix_case.contender == OURS:
        unmet = outcome.unmet(matrix_case.scenario.expect)
        assert not unmet, "; ".join(unmet)


def _turn(matrix_case: Case) -> AbstractContextManager[object]:
    """Cases that are timed, and those of many processes, which would disturb them, run one at a time."""
    many, timed = matrix_case.scenario.processes > 1, matrix_case.scenario.expect.within is not None
    return FileLock(CACHE / "turn.lock") if many or (timed and matrix_case.contender == OURS) else nullcontext()
