"""The repos of the scenarios, each built once however many workers ask for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from filelock import FileLock

from tests.faults.build import ROOT
from tests.faults.cases import Case
from tests.faults.lane import live_repo
from tests.hub import Repo


def repo(case: Case) -> Repo:
    """The replica that a case fetches, or what the live Hub has; building it the first time takes up to a minute."""
    if case.lane == "live":
        return cast("Repo", live_repo())  # as far as the harness asks, it is one
    # Imported on demand: replicas need torch, and the tests of the harness do not.
    from tests.hub.replicas import replica

    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with FileLock(cache / "replicas.lock"):
        return replica(case.scenario.repo, size=case.scenario.size)


def all_repos(cases: Iterable[Case]) -> None:
    """Fetch or build whatever the cases need."""
    for one in {(case.lane == "live", case.scenario.repo, case.scenario.size): case for case in cases}.values():
        repo(one)
