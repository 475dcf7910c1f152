"""The report as people read it: a Markdown page, and a table on the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from tests.faults.outcome import Outcome
from tests.faults.report import OURS, Report
from tests.faults.scenario import Scenario

_HEAD = ("seconds", "failed attempts", "requests", "transfer ratio", "message")
_LEGEND = """\
- **UNMET**: {ours} did not do what the scenario expects of it. **FAILS**: the contender got no model where {ours} got
  one. **WRONG**: it took wrong bytes for right ones, or gave the token away. **HANGS**: it was killed at the
  scenario's cap.
- seconds: of the call, libraries imported before. Read them as orders of magnitude: cases share the machine.
- failed attempts: those that count against the loader's policy; the others do not say.
- requests: seen by the Hub and its CDN, without the one that huggingface_hub makes once a day for itself.
- transfer ratio: bytes delivered to the client, HTTP headers included, / bytes of the files in its cache; where it
  did not load, / bytes of the whole repo. Above 1.00 bytes were moved twice. Tiny repos are mostly headers and JSON.
- Every file in the cache was compared with the repo's own digest before "loaded" was believed, and all that a model
  needs lay in the snapshot of one commit.
- "loaded" is a model in memory, but of huggingface_hub and in scenarios with `files_only` its files on disk.
- "-": the scenario is no matter for that contender.
"""


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
    parts = [*head, *(["", f"**{short}**"] if short else []), "", *summary(report, "**")]
    return "\n".join([*parts, "", *_outcomes(report), "", _LEGEND.format(ours=OURS), *_details(report)])


def summary(report: Report, bold: str = "") -> list[str]:
    """A line for each contender, and under it a line for each way in which it lost."""
    lines = []
    for contender, sentence in zip(report.contenders, report.summary(), strict=True):
        lines.append(f"- {sentence}")
        lines += [f"  - {bold}{word}{bold}: {', '.join(names)}" for word, names in report.lost(contender).items()]
    return lines


def _outcomes(report: Report) -> list[str]:
    lines = []
    for family, scenarios in report.families.items():
        lines += [f"## {family}", "", _row("scenario", "fault", "expected of the loader", *report.contenders)]
        lines.append(_rule(3 + len(report.contenders)))
        for scenario in scenarios:
            cells = (_cell(report, scenario, contender) for contender in report.contenders)
            lines.append(_row(scenario.name, scenario.title, str(scenario.expect), *cells))
        lines.append("")
    return lines[:-1]


def _cell(report: Report, scenario: Scenario, contender: str) -> str:
    outcome = report.of(scenario.name, contender)
    if outcome is None:
        return "not run" if contender in scenario.contenders else "-"
    text = _brief(outcome)
    verdict = report.verdict(outcome)
    return f"**{verdict}**: {text}" if verdict else text


def _brief(outcome: Outcome) -> str:
    ratio = f", ratio {outcome.ratio:.2f}" if outcome.loaded else ""
    return f"{outcome.outcome}, {outcome.seconds:.1f} s{ratio}"


def _details(report: Report) -> list[str]:
    lines = ["## Figures", "", _row("scenario", "contender", "outcome", *_HEAD), _rule(3 + len(_HEAD))]
    for scenario in report.rows:
        for outcome in (o for name in report.contenders if (o := report.of(scenario.name, name))):
            figures = _figures(outcome)
            lines.append(_row(scenario.name, outcome.contender, outcome.outcome, *figures, outcome.message[:160]))
    return [*lines, ""]


def _figures(outcome: Outcome) -> tuple[str, str, str, str]:
    attempts = "" if outcome.attempts is None else str(outcome.attempts)
    return f"{outcome.seconds:.1f}", attempts, str(outcome.requests), f"{outcome.ratio:.3f}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def terminal(report: Report) -> Table:
    """The outcomes for a terminal: a line a scenario, a section a class, what is lost in red."""
    table = Table(box=box.SIMPLE_HEAD, title="Faults", title_justify="left", caption=report.shortfall() or None)
    for name in ("scenario", *report.contenders):
        table.add_column(name, overflow="fold")
    for scenarios in report.families.values():
        for scenario in scenarios:
            cells = (_coloured(report, scenario, contender) for contender in report.contenders)
            table.add_row(scenario.name, *cells, end_section=scenario is scenarios[-1])
    return table


def _coloured(report: Report, scenario: Scenario, contender: str) -> Text:
    outcome = report.of(scenario.name, contender)
    if outcome is None:
        return Text(_cell(report, scenario, contender), style="dim")
    verdict = report.verdict(outcome)
    return Text(f"{verdict} {_brief(outcome)}".strip(), style="bold red" if verdict else "green")
