"""The outcomes of a run: what each contender lost, and the two files on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.faults.outcome import WRONG, Outcome
from tests.faults.scenario import Scenario

OURS = "phaita_loader"
LOST = {
    "UNMET": "not as expected",
    "FAILS": "failed where ours loaded",
    "WRONG": "took wrong bytes for right ones",
    "HANGS": "hung",
}
"""The verdicts, and what they mean of a contender."""


@dataclass(frozen=True)
class Run:
    """The circumstances of a run; `planned` counts the cases of the whole matrix."""

    command: str
    date: str
    machine: str
    versions: dict[str, str]
    planned: int
    selected: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """Outcomes of a run, with their scenarios."""

    run: Run
    scenarios: Sequence[Scenario]
    outcomes: Sequence[Outcome]

    @property
    def contenders(self) -> tuple[str, ...]:
        """Those that ran, ours first, the others in order of appearance."""
        seen = dict.fromkeys(outcome.contender for outcome in self.outcomes)
        return tuple(sorted(seen, key=lambda name: name != OURS))

    @property
    def rows(self) -> tuple[Scenario, ...]:
        """The scenarios that ran."""
        ran = {outcome.scenario for outcome in self.outcomes}
        return tuple(scenario for scenario in self.scenarios if scenario.name in ran)

    @property
    def families(self) -> Mapping[str, tuple[Scenario, ...]]:
        """The scenarios that ran, by class of fault."""
        return {name: tuple(group) for name, group in groupby(self.rows, key=lambda one: one.family)}

    def of(self, scenario: str, contender: str) -> Outcome | None:
        """One cell."""
        return next((o for o in self.outcomes if (o.scenario, o.contender) == (scenario, contender)), None)

    def verdict(self, outcome: Outcome) -> str:
        """The one word that makes a lost case obvious, a key of `LOST`; empty for the others."""
        if outcome.outcome.startswith("hung"):
            return "HANGS"
        if outcome.outcome == WRONG:
            return "WRONG"
        if outcome.contender == OURS:
            scenario = next(one for one in self.scenarios if one.name == outcome.scenario)
            return "UNMET" if outcome.unmet(scenario.expect) else ""
        ours = self.of(outcome.scenario, OURS)
        return "FAILS" if ours is not None and ours.loaded and not outcome.loaded else ""

    def lost(self, contender: str) -> dict[str, list[str]]:
        """Verdict -> the scenarios that this contender lost in that way; no verdict without a scenario."""
        pairs = [(self.verdict(one), one.scenario) for one in self.outcomes if one.contender == contender]
        found = {verdict: [scenario for said, scenario in pairs if said == verdict] for verdict in LOST}
        return {verdict: names for verdict, names in found.items() if names}

    def shortfall(self) -> str:
        """Return what the run lacks of the whole matrix, as sentences; empty if it is complete."""
        run, count = self.run, len(self.outcomes)
        parts = [f"Partial run: {run.selected} of {run.planned} cases were selected."] if self.partial else []
        parts += [f"{run.selected - count} selected cases gave no outcome."] if count < run.selected else []
        return " ".join(parts)

    @property
    def partial(self) -> bool:
        """True if only a part of the matrix was selected."""
        return self.run.selected < self.run.planned

    def summary(self) -> list[str]:
        """A sentence for each contender."""
        return [self._sentence(name) for name in self.contenders]

    def _sentence(self, contender: str) -> str:
        own = [outcome for outcome in self.outcomes if outcome.contender == contender]
        lost = self.lost(contender)
        fine = len(own) - sum(map(len, lost.values()))
        parts = [f"{fine} of {len(own)} as expected"] if contender == OURS else []
        parts += [f"{sum(outcome.loaded for outcome in own)} of {len(own)} loaded"]
        parts += [f"{len(names)} {LOST[verdict]}" for verdict, names in lost.items()]
        return f"{contender}: {', '.join(parts)}"


def as_json(report: Report) -> str:
    """Return the whole report as JSON."""
    scenarios = {
        one.name: {"class": one.family, "title": one.title, "expect": str(one.expect), "contenders": one.contenders}
        for one in report.rows
    }
    outcomes = [{**outcome.as_dict(), "verdict": report.verdict(outcome)} for outcome in report.outcomes]
    content = {**vars(report.run), "partial": report.partial, "scenarios": scenarios, "outcomes": outcomes}
    return json.dumps(content, indent=2) + "\n"


def write(report: Report, folder: Path, page: str) -> None:
    """faults.json, and the page as faults.md, in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.md").write_text(page, encoding="utf-8")
    (folder / "faults.json").write_text(as_json(report), encoding="utf-8")
