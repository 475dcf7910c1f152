"""Outcomes -> a table on the terminal, reports/faults.json and reports/faults.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from tests.faults.outcome import Outcome
from tests.faults.scenario import Scenario

OURS = "phaita_loader"
_HEAD = ("seconds", "failed attempts", "requests", "transfer ratio", "message")
_LEGEND = """\
- **FAILS**: the contender got no model where {ours} got one. **HANGS**: it was killed at the scenario's cap.
- seconds: of the call, libraries imported before. Read them as orders of magnitude: cases share the machine.
- failed attempts: those that count against the loader's policy; the others do not say.
- requests: seen by the Hub and its CDN.
- transfer ratio: bytes delivered to the client, HTTP headers included, / bytes of the files that it fetched; where it
  did not load, / bytes of the whole repo. Above 1.00 bytes were moved twice. Tiny repos are mostly headers and JSON.
- Every file in the cache was compared with the repo's own digest before "loaded" was believed.
"""


@dataclass(frozen=True)
class Run:
    """Where, when and with what the outcomes came about; `planned` counts the cases of the whole matrix."""

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

    def of(self, scenario: str, contender: str) -> Outcome | None:
        """One cell."""
        return next((o for o in self.outcomes if (o.scenario, o.contender) == (scenario, contender)), None)

    def verdict(self, outcome: Outcome) -> str:
        """The one word that makes a lost case obvious; empty for the others."""
        if outcome.outcome.startswith("hung"):
            return "HANGS"
        ours = self.of(outcome.scenario, OURS)
        if outcome.contender == OURS:
            scenario = next(one for one in self.scenarios if one.name == outcome.scenario)
            return "UNMET" if outcome.unmet(scenario.expect) else ""
        return "FAILS" if ours is not None and ours.loaded and not outcome.loaded else ""

    def shortfall(self) -> str:
        """What is missing to the whole matrix; empty if nothing is."""
        run, count = self.run, len(self.outcomes)
        parts = [f"Partial run: {run.selected} of {run.planned} cases were selected."] if self.partial else []
        parts += [f"{run.selected - count} selected cases gave no outcome."] if count < run.selected else []
        return " ".join(parts)

    @property
    def partial(self) -> bool:
        """Was only a part of the matrix selected?"""
        return self.run.selected < self.run.planned

    def summary(self) -> list[str]:
        """A sentence for each contender."""
        return [self._sentence(name) for name in self.contenders]

    def _sentence(self, contender: str) -> str:
        own = [outcome for outcome in self.outcomes if outcome.contender == contender]
        lost = [self.verdict(outcome) for outcome in own]
        parts = [f"{lost.count('')} of {len(own)} as expected"] if contender == OURS else []
        parts += [f"{sum(outcome.loaded for outcome in own)} of {len(own)} loaded"]
        words = {"FAILS": "failed where ours loaded", "HANGS": "hung"}
        parts += [f"{lost.count(word)} {text}" for word, text in words.items() if word in lost]
        return f"{contender}: {', '.join(parts)}"


def write(report: Report, folder: Path) -> None:
    """faults.json and faults.md in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.md").write_text(markdown(report), encoding="utf-8")
    content = {
        **vars(report.run),
        "partial": report.partial,
        "scenarios": {one.name: {"title": one.title, "expect": str(one.expect)} for one in report.rows},
        "outcomes": [{**outcome.as_dict(), "verdict": report.verdict(outcome)} for outcome in report.outcomes],
    }
    (folder / "faults.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def markdown(report: Report) -> str:
    """The whole report as one Markdown page."""
    run = report.run
    head = [
        "# Faults",
        "",
        f"{run.date}, {run.machine}, {len(report.outcomes)} cases in {run.seconds:.0f} s, by `{run.command}`.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items()) + ".",
    ]
    short = report.shortfall()
    parts = [*head, *(["", f"**{short}**"] if short else []), "", *(f"- {line}" for line in report.summary())]
    return "\n".join([*parts, "", *_outcomes(report), "", _LEGEND.format(ours=OURS), *_details(report)])


def _outcomes(report: Report) -> list[str]:
    lines = [_row("scenario", "fault", "expected of the loader", *report.contenders), _rule(3 + len(report.contenders))]
    for scenario in report.rows:
        cells = (_cell(report, report.of(scenario.name, contender)) for contender in report.contenders)
        lines.append(_row(scenario.name, scenario.title, str(scenario.expect), *cells))
    return lines


def _cell(report: Report, outcome: Outcome | None) -> str:
    if outcome is None:
        return "not run"
    verdict = report.verdict(outcome)
    text = f"{outcome.outcome}, {outcome.seconds:.1f} s"
    text += f", ratio {outcome.ratio:.2f}" if outcome.loaded else ""
    return f"**{verdict}**: {text}" if verdict else text


def _details(report: Report) -> list[str]:
    lines = ["## Figures"]
    for scenario in report.rows:
        lines += ["", f"### {scenario.name}: {scenario.title}", ""]
        lines += [_row("contender", "outcome", *_HEAD), _rule(2 + len(_HEAD))]
        for outcome in (o for name in report.contenders if (o := report.of(scenario.name, name))):
            lines.append(_row(outcome.contender, outcome.outcome, *_figures(outcome), outcome.message[:160]))
    return [*lines, ""]


def _figures(outcome: Outcome) -> tuple[str, str, str, str]:
    attempts = "" if outcome.attempts is None else str(outcome.attempts)
    return f"{outcome.seconds:.1f}", attempts, str(outcome.requests), f"{outcome.ratio:.3f}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def terminal(report: Report) -> Table:
    """The outcomes for a terminal: a line a case, what is lost in red."""
    table = Table(box=box.SIMPLE_HEAD, title="Faults", title_justify="left", caption=report.shortfall() or None)
    for name in ("scenario", "contender", "outcome"):
        table.add_column(name, overflow="fold")
    for name in _HEAD[:-1]:
        table.add_column(name, justify="right")
    for scenario in report.rows:
        own = [outcome for name in report.contenders if (outcome := report.of(scenario.name, name))]
        for at, outcome in enumerate(own):
            verdict = report.verdict(outcome)
            text = Text(f"{verdict} {outcome.outcome}".strip(), style="bold red" if verdict else "green")
            table.add_row(
                "" if at else scenario.name, outcome.contender, text, *_figures(outcome), end_section=at + 1 == len(own)
            )
    return table
