"""The report from fixed outcomes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.faults.outcome import Outcome
from tests.faults.report import Report, Run, markdown, terminal, write
from tests.faults.scenario import Expect, Scenario

RUN = Run("pytest tests/faults", "2026-01-02 03:04 UTC", "Linux, 2 cores", {"torch": "2.15"}, 4, 4, 61.0)
SCENARIOS = (
    Scenario("cut", "cut every 2 MB", Expect("loaded", attempts=0, transfer_ratio_max=1.02)),
    Scenario("silent", "never | says anything", Expect("DeadlineExceeded", within=7.0)),
)
OUTCOMES = (
    Outcome("cut", "huggingface_hub", "ReadError", "broken", 0.4, None, 23, 20, 100),
    Outcome("cut", "phaita_loader", "loaded", "", 3.2, 0, 39, 101, 100),
    Outcome("silent", "phaita_loader", "DeadlineExceeded", "too late", 6.0, 3, 3, 0, 100),
    Outcome("silent", "huggingface_hub", "hung (killed at 20 s)", "", 20.0, None, 1, 0, 100),
)
REPORT = Report(RUN, SCENARIOS, OUTCOMES)


def test_what_is_lost_is_obvious() -> None:
    page = markdown(REPORT)
    assert "| scenario | fault | expected of the loader | phaita_loader | huggingface_hub |" in page
    assert "| loaded, 3.2 s, ratio 1.01 | **FAILS**: ReadError, 0.4 s |" in page
    assert "| DeadlineExceeded, 6.0 s | **HANGS**: hung (killed at 20 s), 20.0 s |" in page
    assert "- phaita_loader: 2 of 2 as expected, 1 of 2 loaded" in page
    assert "- huggingface_hub: 0 of 2 loaded, 1 failed where ours loaded, 1 hung" in page
    assert "| huggingface_hub | ReadError | 0.4 |  | 23 | 0.200 | broken |" in page


def test_the_head_says_where_and_with_what() -> None:
    page = markdown(REPORT)
    assert "2026-01-02 03:04 UTC, Linux, 2 cores, 4 cases in 61 s, by `pytest tests/faults`." in page
    assert "Versions: torch 2.15." in page
    assert "Partial" not in page
    assert "loaded, 0 failed attempts, ratio at most 1.02" in page


def test_a_bar_in_a_text_does_not_break_the_table() -> None:
    assert "never \\| says anything" in markdown(REPORT)


def test_a_partial_run_says_so_and_lists_what_ran() -> None:
    page = markdown(Report(replace(RUN, selected=2), SCENARIOS, OUTCOMES[:1]))
    assert "**Partial run: 2 of 4 cases were selected. 1 selected cases gave no outcome.**" in page
    assert "silent" not in page
    assert "phaita_loader |" not in page


def test_our_own_unmet_expectation_is_marked() -> None:
    page = markdown(Report(RUN, SCENARIOS, (replace(OUTCOMES[1], delivered=150),)))
    assert "**UNMET**: loaded, 3.2 s, ratio 1.50" in page


def test_unmet_sentences() -> None:
    outcome = replace(OUTCOMES[1], attempts=2, delivered=150, seconds=9.0)
    assert outcome.unmet(Expect("loaded", 0, 1.02, 8.0)) == [
        "2 attempts failed, expected 0",
        "transfer ratio 1.500, expected at most 1.02",
        "took 9.0 s, expected at most 8.0 s",
    ]
    assert outcome.unmet(Expect("loaded")) == []
    assert outcome.unmet(Expect("NotFound")) == ["outcome loaded (), expected NotFound"]


def test_the_files(tmp_path: Path) -> None:
    write(REPORT, tmp_path / "reports")
    content = json.loads((tmp_path / "reports" / "faults.json").read_text(encoding="utf-8"))
    assert content["versions"] == {"torch": "2.15"}
    assert content["partial"] is False
    assert content["scenarios"]["cut"]["expect"] == "loaded, 0 failed attempts, ratio at most 1.02"
    first = content["outcomes"][0]
    assert (first["verdict"], first["transfer_ratio"]) == ("FAILS", 0.2)
    assert Outcome.from_dict({key: value for key, value in first.items() if key != "verdict"}) == OUTCOMES[0]
    assert (tmp_path / "reports" / "faults.md").read_text(encoding="utf-8") == markdown(REPORT)


def test_the_terminal_table_has_every_case() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal(REPORT))
    text = console.export_text()
    assert text.count("phaita_loader") == 2
    assert "FAILS ReadError" in text
    assert "HANGS hung (killed at 20 s)" in text
