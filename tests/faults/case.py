"""One case: a scenario and a contender, with a Hub and proxies of their own -> Outcome."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults import process
from tests.faults.control import Proxies
from tests.faults.disk import look
from tests.faults.outcome import LOADED, WRONG, Outcome
from tests.faults.scenario import Scenario
from tests.faults.server import Server
from tests.hub import LocalHub, Repo

CONTENDERS = ("phaita_loader", "huggingface_hub", "transformers")
_MODEL = ("config.json", "*.safetensors")
NEEDS = {"phaita_loader": _MODEL, "huggingface_hub": ("*",), "transformers": _MODEL}
"""Files without which a contender's "loaded" is not believed, as patterns."""


def run(scenario: Scenario, contender: str, repo: Repo, server: Server, folder: Path) -> Outcome:
    """Play the scenario against the contender; the harness looks at its cache before it believes a word."""
    served = [] if scenario.prepare == "missing" else [replace(repo, gated=scenario.prepare == "gated")]
    with LocalHub(served) as hub, Proxies(server, {"hub": hub.url, "cdn": hub.cdn_url}) as proxies:
        hub.public_cdn_url = proxies.urls["cdn"]
        for answer in scenario.answers:
            hub.answer(answer)
        proxies.disturb(scenario.origins, scenario.toxics, down=scenario.down)
        lifter = _Lifter(scenario, proxies, server)
        result = process.run(contender, scenario, proxies.urls["hub"], folder, lifter.tick)
        delivered = proxies.settled()
        requests = len(hub.seen)
    return _judged(scenario, contender, repo, folder / "hf_home", result, delivered, requests)


class _Lifter:
    """Takes the fault away when the scenario says so."""

    def __init__(self, scenario: Scenario, proxies: Proxies, server: Server) -> None:
        self._scenario = scenario
        self._proxies = proxies
        self._server = server
        self._lift = scenario.lift

    def tick(self, elapsed: float) -> None:
        """Look whether it is time; `elapsed` is seconds since the contender's call."""
        self._server.check()
        if self._lift is not None and self._due(elapsed):
            self._lift = None
            self._proxies.lift(self._scenario.origins)

    def _due(self, elapsed: float) -> bool:
        if self._lift is None or self._lift.after_seconds is not None:
            return self._lift is not None and elapsed >= (self._lift.after_seconds or 0.0)
        # Connections of other files are far smaller than the limit, so whole limits are drops.
        return self._proxies.delivered() // self._scenario.drop_bytes >= (self._lift.after_drops or 0)


def _judged(
    scenario: Scenario,
    contender: str,
    repo: Repo,
    home: Path,
    result: dict[str, Any],
    delivered: int,
    requests: int,
) -> Outcome:
    cache = look(home, repo)
    lacking = cache.lacking(repo, NEEDS[contender]) if result["outcome"] == LOADED else ()
    wrong = [*cache.wrong, *(f"{path} is not in the cache" for path in lacking)]
    if wrong:
        result = {**result, "outcome": WRONG, "message": "; ".join(wrong)}
    needed = cache.size if result["outcome"] == LOADED else repo.size()
    shutil.rmtree(home)
    return Outcome(scenario.name, contender, delivered=delivered, needed=needed, requests=requests, **result)
