"""The bench's own arithmetic: statistics, verdicts, pages, the kernel's accounts, the shared line."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.fetch.origin import Line
from tests.bench.grid import aligned, markdown, short
from tests.bench.initialise.cold import evict, resident
from tests.bench.initialise.contenders import OURS, THEIRS, missing
from tests.bench.initialise.memory import FIGURES, above, footprint, read
from tests.bench.initialise.models import MODELS
from tests.bench.initialise.plan import contenders as field
from tests.bench.initialise.plan import rounds
from tests.bench.initialise.report_html import report_html as html
from tests.bench.initialise.report_markdown import must_reach, stages, terminal, times
from tests.bench.initialise.report_markdown import report_markdown as page
from tests.bench.initialise.results import MEASURES, NO_CUDA, Results
from tests.bench.initialise.run import Races, Run
from tests.bench.initialise.verdict import Verdict, not_measured, verdicts

MIB = 1 << 20
ROLLUP = """\
557b8b670000-7ffcef524000 ---p 00000000 00:00 0                          [rollup]
Rss:                1848 kB
Pss:                 579 kB
Pss_Anon:            116 kB
Private_Clean:       112 kB
Private_Dirty:       116 kB
Anonymous:           117 kB
"""
STATUS = "Name:\tpython\nVmPeak:\t   9000 kB\nVmHWM:\t   2048 kB\nThreads:\t1\n"


def run(load: float, touched: float, held: int = 0, how: str = "") -> Run:
    memory = {"load": dict.fromkeys(FIGURES, held)} if held else {}
    return Run({"load": load, "touched": touched}, memory=memory, how=how)


@pytest.fixture
def results() -> Results:
    """Return results of one model in two and three rounds, and of another run by a script."""
    first = {
        THEIRS: [run(0.4, 1.0, 100 * MIB), run(0.8, 1.2, 300 * MIB), run(0.6, 1.4, 200 * MIB)],
        OURS: [run(0.1, 0.5, 220 * MIB, "fast"), run(0.3, 0.7, 180 * MIB, "fast")],
    }
    script = {THEIRS: [Run({"ready": 4.0, "forward": 1.0}, [("torch", 3.0), ("<rest>", 1.0)])]}
    races: dict[str, dict[str, Races]] = {"gpt2": {"first": first}, "deberta-v3-base": {"script": script}}
    return Results(NO_CUDA, {"date": "today"}, {"memcpy": 2e9}, {"gpt2": 600_000_000}, races, ["a note"])


def test_figures_are_medians_and_ratios_are_those_of_medians(results: Results) -> None:
    assert results.middle("gpt2", "load-first", THEIRS) == 0.6
    assert results.middle("gpt2", "load-first", OURS) == pytest.approx(0.2)
    assert results.speedup("gpt2", "load-first") == pytest.approx(3.0)
    assert results.speedup("gpt2", "load-touch") == pytest.approx(2.0)
    assert results.speedup("deberta-v3-base", "ready") is None
    assert results.middle("bert-base", "load-first", OURS) is None
    assert results.memory("gpt2", THEIRS) == {"load": dict.fromkeys(FIGURES, 200 * MIB)}
    assert results.ways("gpt2") == "fast"
    assert results.share("gpt2", "load-touch", OURS, "memcpy") == pytest.approx(0.5)
    assert results.share("gpt2", "load-touch", OURS, "disk read") is None


def test_a_verdict_is_about_at_least_or_at_most(results: Results) -> None:
    first, touched, memory = verdicts(results)
    assert (first.model, first.asked, first.met) == ("gpt2", 4.0, False)
    assert first.ratio == pytest.approx(3.0)
    assert touched.ratio == pytest.approx(2.0)
    assert touched.met is True
    assert (memory.ratio, memory.asked, memory.met) == (1.0, 1.05, True)
    assert memory.what == "memory at load, worst: VmHWM"
    assert first.cells() == (
        "load call, first in a process", "gpt2", "200 ms", "600 ms", "3.00x", ">= 4x", "missed"
    )  # fmt: skip
    assert not Verdict("memory", "gpt2", "", "", 1.06, 1.05, at_least=False).met


def test_the_worst_figure_of_memory_is_named_at_each_moment() -> None:
    held = {"load": {"VmHWM": 110, "PSS": 120}, "step": {"VmHWM": 130, "PSS": 100}, "touch": {"PSS": 0}}
    less = {"load": {"VmHWM": 100, "PSS": 100}, "step": {"VmHWM": 100, "PSS": 100}, "touch": {"PSS": 0}}
    first: Races = {OURS: [Run({}, memory=held)], THEIRS: [Run({}, memory=less)]}
    races = {"gpt2": {"first": first}}
    found = [(verdict.what, verdict.ratio) for verdict in verdicts(Results("GPU", races=races))]
    assert found == [("memory at load, worst: PSS", 1.2), ("memory at step, worst: VmHWM", 1.3)]


def test_what_has_no_figure_is_said(results: Results) -> None:
    lacking = not_measured(results)
    assert "load call, first in a process, gpt2" not in lacking
    assert {"load call, first in a process, bert-base", "memory, bert-base"} <= set(lacking)
    assert "Not measured in this run: " in page(results)


def test_the_pages_say_that_there_is_no_gpu_or_name_it(results: Results) -> None:
    for text in (page(results), html(results)):
        assert text.index(f"{NO_CUDA}. No figure here is one of a GPU.") < text.index("Must reach")
        assert "http" not in text
    assert terminal(results)[0] == f"Initialisation on {NO_CUDA}"
    results.device = "GPU & Co"
    assert page(results).startswith("# Initialisation on GPU & Co\n")
    assert "<title>Initialisation on GPU &amp; Co</title>" in html(results)
    assert "No figure here" not in page(results) + html(results)


def test_tables_are_as_wide_as_their_heads(results: Results) -> None:
    lines = times(results, "load-first")
    head = ("model", "rounds", THEIRS, OURS, f"{OURS} is faster by")
    assert lines == [head, ("gpt2", "3", "600 ms", "200 ms", "3.00x")]
    assert stages(results)[1:] == [("deberta-v3-base", THEIRS, "torch 3.000, <rest> 1.000")]
    assert markdown(lines)[1] == "| --- | --- | --- | --- | --- |"
    assert len({line.index("600 ms") for line in aligned([*lines, *lines[1:]])[1:]}) == 1
    assert {len(row) for row in must_reach(results)} == {7}


def test_numbers_have_three_digits() -> None:
    assert [short(number) for number in (0.12345, 1.0, 12.345, 1234.5)] == ["0.123", "1", "12.3", "1234"]


class Balance(HTMLParser):
    """A parser that checks that every opened tag is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_html_is_whole_and_stages_are_stacked(results: Results) -> None:
    text = html(results)
    assert Balance(text).open == []
    assert 'style="width:75.00%' in text
    assert "&lt;rest&gt; 1 s" in text
    assert "<rest>" not in text


def test_the_kernels_account_is_read_in_bytes() -> None:
    expected = {"VmHWM": 2048 << 10, "USS": 228 << 10, "PSS": 579 << 10, "anonymous": 117 << 10}
    assert read(ROLLUP, STATUS) == expected
    assert read("", STATUS) == {"VmHWM": 2048 << 10}
    assert above({"PSS": 5, "USS": 7}, {"PSS": 3}) == {"PSS": 2}


@given(st.text(), st.text())
def test_any_account_can_be_read(rollup: str, status: str) -> None:
    assert read(rollup, status).keys() <= set(FIGURES)


@given(
    st.dictionaries(st.sampled_from(["Pss", "Anonymous", "Private_Clean", "Private_Dirty"]), st.integers(0, 1 << 40))
)
def test_fields_are_found_in_any_order_among_others(fields: dict[str, int]) -> None:
    text = "".join(f"Other: 1 kB\n{name}:   {kib} kB\n" for name, kib in fields.items())
    found = read(text, "")
    assert found.get("PSS") == (fields["Pss"] << 10 if "Pss" in fields else None)
    assert ("USS" in found) is ({"Private_Clean", "Private_Dirty"} <= fields.keys())


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel keeps no such account")
def test_this_process_holds_something() -> None:
    held = footprint()
    assert set(held) == set(FIGURES)
    assert held["VmHWM"] > held["USS"] > 0


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the kernel drops no pages on demand")
def test_what_was_written_is_resident_and_what_never_was_is_not(tmp_path: Path) -> None:
    there, holes, empty = (tmp_path / name for name in ("there", "holes", "empty"))
    there.write_bytes(b"x" * (1 << 20))
    with holes.open("wb") as file:
        file.truncate(1 << 20)
    empty.touch()
    assert [resident(path) for path in (there, holes, empty)] == [1.0, 0.0, 0.0]
    evict(there)
    assert resident(there) in {0.0, 1.0}  # a file system in memory keeps it
    assert there.read_bytes() == b"x" * (1 << 20)
    with pytest.raises(FileNotFoundError):
        resident(tmp_path / "absent")


def test_connections_share_a_line() -> None:
    now = [5.0]
    line = Line(lambda: now[0])
    assert [line.wait(100, 1000) for _ in range(3)] == pytest.approx([0.05, 0.15, 0.25])  # 50 ms may be caught up
    now[0] = 10.0
    assert line.wait(100, 1000) == pytest.approx(0.05)
    assert line.wait(1, 1000) == pytest.approx(0.051)


def test_every_measure_comes_from_a_race_that_some_model_runs() -> None:
    run_by = {race for model in MODELS.values() for race in rounds(model)}
    assert {measure.race for measure in MEASURES.values()} == run_by
    assert set(rounds(MODELS["deberta-v3-base"], 7).values()) == {7}


def test_who_reads_safetensors_only_is_asked_for_nothing_else() -> None:
    assert field(MODELS["deberta-v3-base"], "download", "cpu") == (THEIRS, OURS)
    for model in (MODELS["deberta-v3-base.bin"], MODELS["mistral-7b-4bit"]):
        assert not {"fastsafetensors", "runai_model_streamer", "instanttensor"} & set(field(model, "first", "cuda"))
    assert not set(missing()) & set(field(MODELS["gpt2"], "first", "cuda"))
    assert "instanttensor" not in field(MODELS["gpt2"], "first", "cpu")
