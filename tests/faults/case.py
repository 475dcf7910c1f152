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
from tests.faults.lane import LANES, LiveHub, Road
from tests.faults.outcome import LOADED, WRONG, Outcome
from tests.faults.play import Play
from tests.faults.process import Job, Process
from tests.faults.scenario import Scenario
from tests.faults.server import Server
from tests.faults.weather import Weather
from tests.faults.words import OPENS, Expect
from tests.hub import LocalHub, Repo, Seen

_MODEL = ("config.json", "*.safetensors")
NEEDS = {"phaita_loader": _MODEL, "huggingface_hub": ("*",), "transformers": _MODEL}
"""Files without which a contender's "loaded" is not believed, as patterns."""
_OWN = "/api/agent-harnesses"
"""What huggingface_hub asks for once a day, whatever it is used for: no request of the contender's."""


def run(case: Case, repo: Repo, server: Server, folder: Path) -> Outcome:
    """Play the case; the harness looks at the contender's cache before it believes a word."""
    scenario = case.scenario
    make = partial(LocalHub, _served(scenario, repo), tokens={OPENS: {repo.repo_id}})
    with LANES[case.lane](make, server) as road:
        job = _job(case, repo, road, folder)
        _arrange(scenario, job, road, folder)
        weather = Weather(scenario, road.proxies, server)
        weather.begin()
        ticks = [weather.tick]
        if scenario.prepare == "moving" and isinstance(road.hub, LocalHub):
            ticks.append(_Mover(road.hub, repo).tick)
        start, sent = lambda number: Process(job, folder / f"process-{number}"), lambda: _sent(road.hub)
        result = Play(scenario, start, ticks, sent).run()
        delivered, seen = road.proxies.settled(), _own(road.hub)
    return _judged(case, repo, job.home, result, delivered, seen)


def _arrange(scenario: Scenario, job: Job, road: Road, folder: Path) -> None:
    """Whatever comes before the call, the faults of the wires aside."""
    if scenario.cached:
        _fill(replace(job, endpoint=road.hub.url), folder / "before")
        cached.spoil(scenario.prepare, job.home)
    road.hub.clear()
    road.hub.public_cdn_url = road.cdn_url
    if isinstance(road.hub, LocalHub):
        for answer in scenario.answers:
            road.hub.answer(answer)


def _served(scenario: Scenario, repo: Repo) -> list[Repo]:
    """The repo as the Hub of this case has it."""
    states: dict[str, dict[str, Any]] = {"gated": {"gated": True}, "private": {"private": True}}
    states["moving"] = {"refs": {"main": 0}}
    return [] if scenario.prepare == "missing" else [replace(repo, **states.get(scenario.prepare, {}))]


def _job(case: Case, repo: Repo, road: Road, folder: Path) -> Job:
    scenario = case.scenario
    return Job(
        case.contender,
        scenario.repo,
        road.endpoint,
        folder / "hf_home",
        revision=repo.snapshot().sha if scenario.pinned else "main",
        files_only=scenario.files_only,
        policy=scenario.policy,
        offline=scenario.offline,
        token=scenario.token,
        disk=scenario.disk,
        environment=road.environment,
    )


def _fill(job: Job, folder: Path) -> None:
    """An earlier call of the same library in good weather; of transformers', by the library that it downloads with."""
    names = {"transformers": "huggingface_hub"}
    fair = replace(job, contender=names.get(job.contender, job.contender), files_only=True, offline=False, disk=None)
    play = Play(Scenario("fair", "", Expect(LOADED)), lambda _: Process(fair, folder))
    result = play.run()
    if result["outcome"] != LOADED:
        raise AssertionError(f"the call in good weather failed: {result['outcome']}: {result['message']}")


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
