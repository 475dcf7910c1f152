"""The report as Markdown, and its must-reach table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.grid import Lines, aligned, markdown

from .contenders import OURS, THEIRS
from .memory import FIGURES
from .results import MEASURES, NO_CUDA, Results, middles
from .verdict import HEAD, not_measured, size, time, verdicts

SHARES = (("load-touch", "memcpy"), ("cold-touch", "disk read"), ("load-first", "pinned copy to the device"))
"""The limit that each measure is compared with; the last one with a CUDA device only."""
_LEGEND = """\
- Times are medians, ratios are those of medians in one run; contenders take turns, round by round.
- load call, first in a process: torch, transformers and the model's class are imported before; a fresh process each.
- touch: every byte of all parameters and buffers is read. A lazy load does little until then.
- fresh process to ready: from the start of the interpreter to the end of the first forward, imports included.
- memory: what the process holds above what it held right before the load (smaps_rollup; VmHWM since then); the
  step is one of plain SGD.
- After the timing each contender's parameters, buffers, tying and one forward were compared bit by bit with those of
  `from_pretrained`; one that differs fails the run."""


def title(results: Results) -> str:
    """It names the device."""
    return f"Initialisation on {results.device}"


def warning(results: Results) -> str:
    """Return the warning of a report without a CUDA device, empty otherwise."""
    return f"{NO_CUDA}. No figure here is one of a GPU." if results.device == NO_CUDA else ""


def report_markdown(results: Results) -> str:
    """The whole report."""
    about = [f"- {name}: {text}" for name, text in results.about.items()]
    head = [f"# {title(results)}", "", *([f"**{warning(results)}**", ""] if warning(results) else []), *about, ""]
    parts = [*head, *_part("Must reach", must_reach(results)), *_lacking(results)]
    for measure, known in MEASURES.items():
        parts += _part(known.title.capitalize(), times(results, measure))
    parts += _part("Stages of a fresh process, in seconds", stages(results))
    parts += _part("Beside the machine's limits", shares(results))
    parts += _part("Memory above the imports", memory(results))
    return "\n".join([*parts, "## Notes", "", *(f"- {note}" for note in notes(results)), _LEGEND, ""])


def terminal(results: Results) -> list[str]:
    """The device, the must-reach table and the notes."""
    table = must_reach(results)
    return [title(results), *(aligned(table) if len(table) > 1 else []), *notes(results)]


def must_reach(results: Results) -> Lines:
    """Model and measure, with what was asked."""
    return [HEAD, *(verdict.cells() for verdict in verdicts(results))]


def times(results: Results, measure: str) -> Lines:
    """The contenders side by side, a row a model."""
    names = results.contenders(measure)
    lines = [("model", "rounds", *names, f"{OURS} is faster by")]
    for model, found in middles(results, measure):
        ratio = results.speedup(model, measure)
        rounds = str(max(len(results.seconds(model, measure, name)) for name in names))
        cells = [time(found[name]) if name in found else "" for name in names]
        lines.append((model, rounds, *cells, "" if ratio is None else f"{ratio:.2f}x"))
    return lines


def stages(results: Results) -> Lines:
    """Return the stages of a fresh process with their seconds."""
    lines = [("model", "contender", "stages")]
    for kind in ("script", "download"):
        for model, races in results.races.items():
            for name in races.get(kind, {}):
                parts = [f"{stage} {seconds:.3f}" for stage, seconds in results.stages(model, name, kind).items()]
                lines.append((model, name, ("with download: " if kind == "download" else "") + ", ".join(parts)))
    return lines


def shares(results: Results) -> Lines:
    """Bytes a second as a part of what the machine can do."""
    lines = [("model", "measure", "limit", "GB/s", "contender", "GB/s", "share")]
    for measure, limit in SHARES:
        for model, found in middles(results, measure):
            for name, seconds in found.items():
                share = results.share(model, measure, name, limit)
                if share is not None:
                    most = f"{results.limits[limit] / 1e9:.2f}"
                    rate = f"{results.sizes[model] / seconds / 1e9:.2f}"
                    lines.append((model, MEASURES[measure].title, limit, most, name, rate, f"{share:.0%}"))
    return lines


def memory(results: Results) -> Lines:
    """Every figure at every moment, of this loader and of plain transformers; on CUDA what the device holds too."""
    lines = [("model", "moment", "figure", OURS, THEIRS, "ratio")]
    for model in results.models:
        ours, theirs = (results.memory(model, name) for name in (OURS, THEIRS))
        for moment in ours:
            for figure in [name for name in (*FIGURES, "allocated", "reserved") if name in ours[moment]]:
                one, other = ours[moment][figure], theirs.get(moment, {}).get(figure, 0.0)
                ratio = f"{one / other:.2f}x" if other > 0 else ""
                lines.append((model, moment, figure, size(one), size(other), ratio))
    return lines


def notes(results: Results) -> Iterator[str]:
    """Yield the path that this loader took, the machine's limits, and the notes of the run."""
    for model in results.models:
        if way := results.ways(model):
            yield f"{OURS}, {model}: path {way}"
    for name, rate in results.limits.items():
        yield f"limit, measured in this run: {name} {rate / 1e9:.2f} GB/s"
    yield from results.notes


def _part(heading: str, lines: Lines) -> list[str]:
    return [f"## {heading}", "", *markdown(lines), ""] if len(lines) > 1 else []


def _lacking(results: Results) -> list[str]:
    lacking = not_measured(results)
    return [f"Not measured in this run: {'; '.join(lacking)}.", ""] if lacking else []
