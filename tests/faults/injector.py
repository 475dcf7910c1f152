"""Puts a scenario's fault on the wires, and takes it away when the scenario says so."""

from __future__ import annotations

from tests.faults.control import Proxies
from tests.faults.lane import SharedProxy
from tests.faults.scenario import Scenario
from tests.faults.server import Server


class FaultInjector:
    """The fault between a contender and the Hub. `lift` takes the refusal away, else the toxics."""

    def __init__(self, scenario: Scenario, proxies: Proxies | SharedProxy, server: Server) -> None:
        self._scenario = scenario
        self._proxies = proxies
        self._server = server
        self._gone = False

    def begin(self) -> None:
        """Let the fault begin."""
        self._proxies.disturb(self._scenario.origins, self._scenario.toxics)
        if self._scenario.down:
            self._proxies.refuse(self._scenario.origins)

    def tick(self, elapsed: float) -> None:
        """Look whether it is time for a change; `elapsed` is seconds since the contender's call."""
        self._server.check()
        lift = self._scenario.lift
        if lift is None or (self._gone and lift.for_seconds is None):
            return
        gone = lift.gone(elapsed)
        if gone != self._gone:
            self._gone = gone
            self._change(gone)

    def _change(self, gone: bool) -> None:
        origins, proxies = self._scenario.origins, self._proxies
        if self._scenario.down:
            (proxies.accept if gone else proxies.refuse)(origins)
        elif gone:
            proxies.clear(origins)
        else:
            proxies.disturb(origins, self._scenario.toxics)
