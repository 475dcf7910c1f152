"""One case: a scenario and a contender, with a Hub and proxies of their own -> Outcome."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults import cached
from tests.faults.control import Proxies
from tests.faults.disk import look
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


def run(scenario: Scenario, contender: str, repo: Repo, server: Server, folder: Path) -> Outcome:
    """Play the scenario against the contender; the harness looks at its cache before it believes a word."""
    served = _served(scenario, repo)
    with (
        LocalHub(served, tokens={OPENS: {repo.repo_id}}) as hub,
        Proxies(server, {"hub": hub.url, "cdn": hub.cdn_url}) as proxies,
    ):
        job = _job(scenario, contender, repo, proxies.urls["hub"], folder)
        if scenario.cached:
            _fill(replace(job, endpoint=hub.url), folder / "before")
            cached.spoil(scenario.prepare, job.home)
        hub.clear()
        hub.public_cdn_url = proxies.urls["cdn"]
        for answer in scenario.answers:
            hub.answer(answer)
        weather = Weather(scenario, proxies, server)
        weather.begin()
        tick = _both(weather.tick, _Mover(scenario, hub, repo).tick)
        play = Play(scenario, lambda number: Process(job, folder / f"process-{number}"), tick, lambda: _sent(hub))
        result = play.run()
        delivered, seen = proxies.settled(), _own(hub)
    return _judged(scenario, contender, repo, job.home, result, delivered, seen)


def _served(scenario: Scenario, repo: Repo) -> list[Repo]:
    """The repo as the Hub of this case has it."""
    states: dict[str, dict[str, Any]] = {"gated": {"gated": True}, "private": {"private": True}}
    states["moving"] = {"refs": {"main": 0}}
    return [] if scenario.prepare == "missing" else [replace(repo, **states.get(scenario.prepare, {}))]


def _job(scenario: Scenario, contender: str, repo: Repo, endpoint: str, folder: Path) -> Job:
    return Job(
        contender,
        scenario.repo,
        endpoint,
        folder / "hf_home",
        revision=repo.snapshot().sha if scenario.pinned else "main",
        files_only=scenario.files_only,
        policy=scenario.policy,
        offline=scenario.offline,
        token=scenario.token,
        disk=scenario.disk,
    )


def _fill(job: Job, folder: Path) -> None:
    """An earlier call of the same library in good weather; of transformers', by the library that it downloads with."""
    names = {"transformers": "huggingface_hub"}
    fair = replace(job, contender=names.get(job.contender, job.contender), files_only=True, offline=False, disk=None)
    play = Play(Scenario("fair", "", Expect(LOADED)), lambda _: Process(fair, folder), lambda _: None, lambda: 0)
    result = play.run()
    if result["outcome"] != LOADED:
        raise AssertionError(f"the call in good weather failed: {result['outcome']}: {result['message']}")


class _Mover:
    """Moves the branch once the Hub has answered something about the repo."""

    def __init__(self, scenario: Scenario, hub: LocalHub, repo: Repo) -> None:
        self._due = scenario.prepare == "moving"
        self._hub = hub
        self._repo = repo

    def tick(self, _elapsed: float) -> None:
        """Look whether it is time."""
        if self._due and any(seen.status for seen in _own(self._hub)):
            self._due = False
            self._hub.move(self._repo.repo_id, "main", self._repo.shas[-1])


def _both(*ticks: Callable[[float], None]) -> Callable[[float], None]:
    def tick(elapsed: float) -> None:
        for one in ticks:
            one(elapsed)

    return tick


def _own(hub: LocalHub) -> list[Seen]:
    return [seen for seen in hub.seen if seen.path != _OWN]


def _sent(hub: LocalHub) -> int:
    return sum(seen.bytes_sent for seen in hub.seen if seen.origin == "cdn")


def _judged(
    scenario: Scenario,
    contender: str,
    repo: Repo,
    home: Path,
    result: dict[str, Any],
    delivered: int,
    seen: list[Seen],
) -> Outcome:
    loaded = result["outcome"] == LOADED
    cache = look(home, repo)
    # A damaged cache is no one's fault until a model is made of it.
    wrong = [] if scenario.prepare in ("damaged", "truncated") and not loaded else [*cache.wrong]
    wrong += [f"{path} is not in the cache" for path in cache.lacking(repo, NEEDS[contender])] if loaded else []
    wrong += ["the token went to the CDN"] if any(one.authorised for one in seen if one.origin == "cdn") else []
    if wrong:
        result = {**result, "outcome": WRONG, "message": "; ".join(wrong)}
    needed = cache.size if loaded else repo.size()
    cached.writable(home)
    shutil.rmtree(home)
    return Outcome(scenario.name, contender, delivered=delivered, needed=needed, requests=len(seen), **result)
