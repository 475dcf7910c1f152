"""The report from fixed outcomes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.outcome import WRONG, Outcome
from tests.faults.page import markdown, terminal
from tests.faults.report import Report, Run, write
from tests.faults.scenario import Scenario
from tests.faults.schema import Expect

RUN = Run("pytest tests/faults", "2026-01-02 03:04 UTC", "Linux, 2 cores", {"torch": "2.15"}, 5, 5, 61.0)
SCENARIOS = (
    Scenario("cut_twice", "cut every 2 MB", Expect("loaded", attempts=0, transfer_ratio_max=1.02)),
    Scenario("silent", "never | says anything", Expect("DeadlineExceeded", within=7.0)),
    Scenario("silent_cache", "a text", Expect("loaded"), contenders=("phaita_loader",)),
)
OUTCOMES = (
    Outcome("cut_twice", "huggingface_hub", "ReadError", "broken", 0.4, None, 23, 20, 100),
    Outcome("cut_twice", "phaita_loader", "loaded", "", 3.2, 0, 39, 101, 100),
    Outcome("silent", "phaita_loader", "DeadlineExceeded", "too late", 6.0, 3, 3, 0, 100),
    Outcome("silent", "huggingface_hub", "hung (killed at 20 s)", "", 20.0, None, 1, 0, 100),
    Outcome("silent_cache", "phaita_loader", "loaded", "", 1.0, 0, 1, 100, 100),
)
REPORT = Report(RUN, SCENARIOS, OUTCOMES)


def test_what_is_lost_is_obvious() -> None:
    page = markdown(REPORT)
    assert "| scenario | fault | expected of the loader | phaita_loader | huggingface_hub |" in page
    assert "| loaded, 3.2 s, ratio 1.01 | **FAILS**: ReadError, 0.4 s |" in page
    assert "| DeadlineExceeded, 6.0 s | **HANGS**: hung (killed at 20 s), 20.0 s |" in page
    assert "| cut_twice | huggingface_hub | ReadError | 0.4 |  | 23 | 0.200 | broken |" in page


def test_each_contender_has_a_summary_and_a_line_for_each_way_to_lose() -> None:
    page = markdown(REPORT)
    assert "- phaita_loader: 3 of 3 as expected, 2 of 3 loaded\n- huggingface_hub" in page
    told = "- huggingface_hub: 0 of 2 loaded, 1 failed where ours loaded, 1 hung\n"
    assert told + "  - **FAILS**: cut_twice\n  - **HANGS**: silent\n" in page


def test_scenarios_stand_by_class() -> None:
    page = markdown(REPORT)
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## cut", "## silent", "## Figures"]


def test_a_contender_that_a_scenario_does_not_mean_is_no_gap() -> None:
    assert "| silent_cache | a text | loaded | loaded, 1.0 s, ratio 1.00 | - |" in markdown(REPORT)
    assert "not run" not in markdown(REPORT)
    assert "| not run |" in markdown(Report(RUN, SCENARIOS, (*OUTCOMES[:3], OUTCOMES[4])))


def test_the_head_says_where_and_with_what() -> None:
    page = markdown(REPORT)
    assert "2026-01-02 03:04 UTC, Linux, 2 cores, 5 cases in 61 s, by `pytest tests/faults`." in page
    assert "Versions: torch 2.15." in page
    assert "Partial" not in page
    assert "loaded, 0 failed attempts, ratio at most 1.02" in page


def test_a_bar_in_a_text_does_not_break_the_table() -> None:
    assert "never \\| says anything" in markdown(REPORT)


def test_a_partial_run_says_so_and_lists_what_ran() -> None:
    page = markdown(Report(replace(RUN, selected=2), SCENARIOS, OUTCOMES[:1]))
    assert "**Partial run: 2 of 5 cases were selected. 1 selected cases gave no outcome.**" in page
    assert "silent" not in page
    assert "phaita_loader |" not in page


def test_our_own_unmet_expectation_is_marked() -> None:
    page = markdown(Report(RUN, SCENARIOS, (replace(OUTCOMES[1], delivered=150),)))
    assert "**UNMET**: loaded, 3.2 s, ratio 1.50" in page
    assert "- phaita_loader: 0 of 1 as expected, 1 of 1 loaded, 1 not as expected\n  - **UNMET**: cut_twice" in page


@pytest.mark.parametrize("contender", ["phaita_loader", "huggingface_hub"])
def test_wrong_bytes_are_lost_whatever_was_expected(contender: str) -> None:
    outcome = Outcome("silent", contender, WRONG)
    assert Report(RUN, SCENARIOS, (outcome,)).lost(contender) == {"WRONG": ["silent"]}


def test_unmet_sentences() -> None:
    outcome = replace(OUTCOMES[1], attempts=2, delivered=150, seconds=9.0, output="a warning")
    assert outcome.unmet(Expect("loaded", 0, 1.02, 8.0, 38, "a warning")) == [
        "2 attempts failed, expected 0",
        "transfer ratio 1.500, expected at most 1.02",
        "took 9.0 s, expected at most 8.0 s",
        "39 requests, expected at most 38",
    ]
    assert outcome.unmet(Expect("loaded")) == []
    assert outcome.unmet(Expect("NotFound")) == ["outcome loaded (), expected NotFound"]
    assert outcome.unmet(Expect("loaded", says="hello")) == ["expected it to say 'hello', it said 'a warning'"]
    assert OUTCOMES[0].unmet(Expect("ReadError", says="broken")) == []


def test_an_expectation_reads_as_a_sentence() -> None:
    full = Expect("loaded", 1, 1.02, 5.0, 0, "cached")
    told = "loaded, 1 failed attempt, ratio at most 1.02, within 5 s, 0 requests at most, says 'cached'"
    assert str(full) == told


def test_the_files(tmp_path: Path) -> None:
    write(REPORT, tmp_path / "reports", markdown(REPORT))
    content = json.loads((tmp_path / "reports" / "faults.json").read_text(encoding="utf-8"))
    assert content["versions"] == {"torch": "2.15"}
    assert content["partial"] is False
    assert content["scenarios"]["cut_twice"]["expect"] == "loaded, 0 failed attempts, ratio at most 1.02"
    assert content["scenarios"]["silent_cache"]["contenders"] == ["phaita_loader"]
    assert content["scenarios"]["silent_cache"]["class"] == "silent"
    first = content["outcomes"][0]
    assert (first["verdict"], first["transfer_ratio"]) == ("FAILS", 0.2)
    assert Outcome.from_dict({key: value for key, value in first.items() if key != "verdict"}) == OUTCOMES[0]
    assert (tmp_path / "reports" / "faults.md").read_text(encoding="utf-8") == markdown(REPORT)


def test_the_terminal_table_has_a_line_for_each_scenario() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal(REPORT))
    text = console.export_text()
    assert text.count("phaita_loader") == 1
    for part in ("cut_twice", "FAILS ReadError, 0.4 s", "HANGS hung (killed at 20 s), 20.0 s", "loaded, 3.2 s"):
        assert part in text
