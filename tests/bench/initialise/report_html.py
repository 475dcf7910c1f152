"""The report as one HTML file: bars by CSS, no script, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape

from tests.bench.grid import Lines

from .report_markdown import memory, must_reach, notes, shares, title, warning
from .results import MEASURES, Results, middles
from .verdict import time

_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e")
_STYLE = """\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1b1e23 }
h2 { margin-top: 2.2rem } h3 { margin: 1rem 0 .3rem; font-size: 1rem }
table { border-collapse: collapse; font-size: 14px } td, th { padding: .2rem .7rem .2rem 0; text-align: left }
tr { border-bottom: 1px solid #dde } .warning { background: #fff3cd; padding: .6rem 1rem; font-weight: 600 }
.row { display: grid; grid-template-columns: 13rem 1fr 12rem; gap: .6rem; align-items: center; margin: 2px 0 }
.track { display: flex; height: 1.1rem; background: #f0f1f5 } .track span { display: block; height: 100% }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 1rem } .missed { color: #b3261e }
"""


def report_html(results: Results) -> str:
    """The whole page."""
    about = "".join(f"<li>{escape(name)}: {escape(text)}</li>" for name, text in results.about.items())
    alarm = f'<p class="warning">{escape(warning(results))}</p>' if warning(results) else ""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title(results))}</title>'
    body = [f"<h1>{escape(title(results))}</h1>", alarm, f"<ul>{about}</ul>", *_sections(results)]
    ending = "".join(f"<li>{escape(note)}</li>" for note in notes(results))
    return "\n".join([f"{head}<style>{_STYLE}</style>", *body, f"<ul>{ending}</ul></html>", ""])


def _sections(results: Results) -> Iterator[str]:
    yield from _table("Must reach", must_reach(results))
    for kind, words in {"script": "from cached files", "download": "its download included"}.items():
        yield from _stacks(results, kind, f"Stages of a fresh process, {words}")
    for measure, known in MEASURES.items():
        if rows := middles(results, measure):
            yield f"<h2>{escape(known.title.capitalize())}</h2>"
            for model, found in rows:
                yield f"<h3>{escape(model)}</h3>" + "".join(_bars(found))
    yield from _table("Beside the machine's limits", shares(results))
    yield from _table("Memory above the imports", memory(results))


def _bars(found: Mapping[str, float]) -> Iterator[str]:
    longest = max(found.values())
    for name, seconds in found.items():
        yield _row(name, _span(seconds / longest, _COLOURS[0], time(seconds)), time(seconds))


def _stacks(results: Results, kind: str, heading: str) -> Iterator[str]:
    stacks = {
        (model, name): results.stages(model, name, kind)
        for model, races in results.races.items()
        for name in races.get(kind, {})
    }
    if not stacks:
        return
    names = list(dict.fromkeys(stage for stages in stacks.values() for stage in stages))
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}
    yield f"<h2>{escape(heading)}</h2><p>{''.join(_key(name, colours[name]) for name in names)}</p>"
    longest = max(sum(stages.values()) for stages in stacks.values())
    for (model, name), stages in stacks.items():
        spans = (_span(part / longest, colours[stage], f"{stage} {time(part)}") for stage, part in stages.items())
        yield _row(f"{model}, {name}", "".join(spans), time(sum(stages.values())))


def _row(label: str, spans: str, text: str) -> str:
    track = f'<div class="track">{spans}</div>'
    return f'<div class="row"><span>{escape(label)}</span>{track}<span>{escape(text)}</span></div>'


def _span(share: float, colour: str, text: str) -> str:
    return f'<span style="width:{max(0.0, share):.2%};background:{colour}" title="{escape(text)}"></span>'


def _key(name: str, colour: str) -> str:
    return f'<span class="key" style="background:{colour}"></span>{escape(name)}'


def _table(heading: str, lines: Lines) -> Iterator[str]:
    if len(lines) > 1:
        head, *rows = lines
        body = "".join(_cells(row, "td") for row in rows)
        yield f"<h2>{escape(heading)}</h2><table>{_cells(head, 'th')}{body}</table>"


def _cells(cells: Iterable[str], tag: str) -> str:
    words = (f"<{tag}{_mark(cell)}>{escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{''.join(words)}</tr>"


def _mark(cell: str) -> str:
    return ' class="missed"' if cell == "missed" else ""
