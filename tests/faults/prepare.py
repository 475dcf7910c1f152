"""The repos of the scenarios, each built once however many workers ask for it."""

from __future__ import annotations

from collections.abc import Iterable

from filelock import FileLock

from tests.faults.build import ROOT
from tests.faults.scenario import Scenario
from tests.hub import Repo


def repo(scenario: Scenario) -> Repo:
    """The replica that a scenario fetches; building it the first time takes up to a minute."""
    # Imported on demand: replicas need torch, and the tests of the harness do not.
    from tests.hub.replicas import replica

    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with FileLock(cache / "replicas.lock"):
        return replica(scenario.repo, size=scenario.size)


def all_repos(scenarios: Iterable[Scenario]) -> None:
    """Build every replica that the scenarios fetch."""
    for one in {(scenario.repo, scenario.size): scenario for scenario in scenarios}.values():
        repo(one)
