"""The matrix in pytest's output: each case as it ends, the table, the report. Works with and without workers."""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from tests.faults import page, report
from tests.faults.build import MODULE
from tests.faults.cases import planned
from tests.faults.outcome import Outcome

OUTCOME = "fault-outcome"
MATRIX = "test_matrix.py::test_case["
_PACKAGES = ("phaita-loader", "huggingface_hub", "transformers", "torch", "toxiproxy-python")


class Matrix:
    """Collects the outcomes in the process that talks to the user."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._begin = time.monotonic()
        self._ids: set[str] = set()
        self._outcomes: list[Outcome] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the cases (without workers)."""
        self._select(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: Iterable[str]) -> None:
        """Count the cases (with workers, which all collect the same)."""
        self._select(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Show a case as it ends."""
        values = dict(report.user_properties).get(OUTCOME)
        if report.when == "call" and isinstance(values, dict):
            outcome = Outcome.from_dict(values)
            self._outcomes.append(outcome)
            self._say(_line(outcome, len(self._outcomes), len(self._ids)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No dots between the lines of the matrix."""
        return ("passed", "", "") if report.when == "call" and report.passed and MATRIX in report.nodeid else None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and the report on disk."""
        if not self._outcomes:
            return
        made = self._report()
        report.write(made, self._folder, page.markdown(made))
        width = shutil.get_terminal_size((120, 40)).columns
        console = Console(file=io.StringIO(), width=width, force_terminal=terminalreporter.hasmarkup)
        console.print(page.terminal(made))
        assert isinstance(console.file, io.StringIO)
        terminalreporter.write_line(console.file.getvalue())
        for line in page.summary(made):
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"report: {self._folder.name}/faults.md, {self._folder.name}/faults.json")

    def _select(self, ids: Iterable[str]) -> None:
        self._ids |= {name for name in ids if MATRIX in name}

    def _say(self, line: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if isinstance(terminal, pytest.TerminalReporter):
            terminal.ensure_newline()
            terminal.write_line(line)

    def _report(self) -> report.Report:
        cases = planned(self._config.getoption("lane"))
        run = report.Run(
            command=" ".join(["pytest", *self._config.invocation_params.args]),
            date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            versions=_versions(),
            planned=len(cases),
            selected=len(self._ids),
            seconds=time.monotonic() - self._begin,
        )
        scenarios = tuple({one.scenario.name: one.scenario for one in cases}.values())
        order = {(one.scenario.name, one.contender): at for at, one in enumerate(cases)}
        return report.Report(run, scenarios, sorted(self._outcomes, key=lambda o: order[o.scenario, o.contender]))


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), **{name: version(name) for name in _PACKAGES}, "Toxiproxy": _pinned()}


def _pinned() -> str:
    """The server's version as toxiproxy/go.mod has it: the server itself does not know."""
    if os.environ.get("TOXIPROXY_SERVER"):
        return "of TOXIPROXY_SERVER"
    found = re.search(r"toxiproxy/v2 v(\S+)", (MODULE / "go.mod").read_text(encoding="utf-8"))
    return found[1] if found else "?"


def _line(outcome: Outcome, at: int, of: int) -> str:
    case = f"{outcome.scenario} x {outcome.contender}"
    figures = f"{outcome.seconds:.1f} s, ratio {outcome.ratio:.2f}"
    return f"[{at:{len(str(of))}} of {of}] {case:<36} {outcome.outcome}, {figures}"
