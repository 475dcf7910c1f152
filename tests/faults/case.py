"""One case: a scenario and a contender, with a Hub and proxies of their own -> Outcome."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import cached
from tests.faults.cases import Case
from tests.faults.disk import look
from tests.faults.injector import FaultInjector
from tests.faults.lane import LANES, LiveHub, Topology
from tests.faults.outcome import LOADED, WRONG, Outcome
from tests.faults.process import CallSpec, Process
from tests.faults.runner import Runner
from tests.faults.scenario import Scenario
from tests.faults.schema import OPENS, Expect
from tests.faults.server import Server
from tests.hub import LocalHub, Repo, Seen

_MODEL = ("config.json", "*.safetensors")
NEEDS = {"phaita_loader": _MODEL, "huggingface_hub": ("*",), "transformers": _MODEL}
"""Files without which a contender's "loaded" is not believed, as patterns."""
_OWN = "/api/agent-harnesses"
"""The request that huggingface_hub makes once a day for itself; it does not count as the contender's."""


def run(case: Case, repo: Repo, server: Server, folder: Path) -> Outcome:
    """Run the case; "loaded" is believed only after the harness has checked the cache itself."""
    scenario = case.scenario
    make = partial(LocalHub, _served(scenario, repo), tokens={OPENS: {repo.repo_id}})
    with LANES[case.lane](make, server) as topology:
        spec = _spec(case, repo, topology, folder)
        _arrange(scenario, spec, topology, folder)
        injector = FaultInjector(scenario, topology.proxies, server)
        injector.begin()
        ticks = [injector.tick]
        if scenario.prepare == "moving" and isinstance(topology.hub, LocalHub):
            ticks.append(_Mover(topology.hub, repo).tick)
        start, sent = lambda number: Process(spec, folder / f"process-{number}"), lambda: _sent(topology.hub)
        result = Runner(scenario, start, ticks, sent).run()
        delivered, seen = topology.proxies.settled(), _own(topology.hub)
    return _judged(case, repo, spec.home, result, delivered, seen)


def _arrange(scenario: Scenario, spec: CallSpec, topology: Topology, folder: Path) -> None:
    """Prepare the cache and the Hub before the call; faults of the network come later."""
    if scenario.cached:
        _fill(replace(spec, endpoint=topology.hub.url), folder / "before")
        cached.spoil(scenario.prepare, spec.home)
    topology.hub.clear()
    topology.hub.public_cdn_url = topology.cdn_url
    if isinstance(topology.hub, LocalHub):
        for answer in scenario.answers:
            topology.hub.answer(answer)


def _served(scenario: Scenario, repo: Repo) -> list[Repo]:
    """The repo as the Hub of this case has it."""
    states: dict[str, dict[str, Any]] = {"gated": {"gated": True}, "private": {"private": True}}
    states["moving"] = {"refs": {"main": 0}}
    return [] if scenario.prepare == "missing" else [replace(repo, **states.get(scenario.prepare, {}))]


def _spec(case: Case, repo: Repo, topology: Topology, folder: Path) -> CallSpec:
    scenario = case.scenario
    return CallSpec(
        case.contender,
        scenario.repo,
        topology.endpoint,
        folder / "hf_home",
        revision=repo.snapshot().sha if scenario.pinned else "main",
        files_only=scenario.files_only,
        policy=scenario.policy,
        offline=scenario.offline,
        token=scenario.token,
        disk=scenario.disk,
        environment=topology.environment,
    )


def _fill(spec: CallSpec, folder: Path) -> None:
    """An earlier call of the same library without faults; of transformers', by the library that it downloads with."""
    names = {"transformers": "huggingface_hub"}
    fair = replace(spec, contender=names.get(spec.contender, spec.contender), files_only=True, offline=False, disk=None)
    runner = Runner(Scenario("fair", "", Expect(LOADED)), lambda _: Process(fair, folder))
    result = runner.run()
    if result["outcome"] != LOADED:
        raise AssertionError(f"the call without faults failed: {result['outcome']}: {result['message']}")


class _Mover:
    """Moves the branch once the Hub has answered something about the repo."""

    def __init__(self, hub: LocalHub, repo: Repo) -> None:
        self._due = True
        self._hub = hub
        self._repo = repo

    def tick(self, elapsed: float) -> None:
        """Look whether it is time."""
        if self._due and any(seen.status for seen in _own(self._hub)):
            self._due = False
            self._hub.move(self._repo.repo_id, "main", self._repo.shas[-1])


def _own(hub: LocalHub | LiveHub) -> list[Seen]:
    return [seen for seen in hub.seen if seen.path != _OWN]


def _sent(hub: LocalHub | LiveHub) -> int:
    return sum(seen.bytes_sent for seen in hub.seen if seen.origin == "cdn")


def _judged(case: Case, repo: Repo, home: Path, result: dict[str, Any], delivered: int, seen: list[Seen]) -> Outcome:
    loaded = result["outcome"] == LOADED
    cache = look(home, repo)
    # A damaged cache is no one's fault until a model is made of it.
    wrong = [] if case.scenario.prepare in ("damaged", "truncated") and not loaded else [*cache.wrong]
    wrong += [f"{path} is not in the cache" for path in cache.lacking(repo, NEEDS[case.contender])] if loaded else []
    wrong += ["the token went to the CDN"] if any(one.authorised for one in seen if one.origin == "cdn") else []
    if wrong:
        result = {**result, "outcome": WRONG, "message": "; ".join(wrong)}
    needed = cache.size if loaded else repo.size()
    cached.writable(home)
    shutil.rmtree(home)
    return Outcome(case.scenario.name, case.contender, delivered=delivered, needed=needed, requests=len(seen), **result)
