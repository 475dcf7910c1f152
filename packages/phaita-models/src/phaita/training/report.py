"""Write an evaluation as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from phaita.training.evaluate import HELD_OUT, LISTED, UNKNOWN, Estimate, Evaluation, Figures

__all__ = ["markdown", "write_report"]

_PACKAGES = ("phaita-models", "torch", "torch_geometric", "transformers", "scikit-learn")

_HEAD = """\
Text encoder: {encoder}. Means over the seeds {seeds}: each draws {learned:,} synthetic complaints for training, a new \
split of templates and phrases, and new initial weights. In percent; in brackets 95 % bootstrap intervals over the \
presentations (percentiles, 1,000 samples), which do not include the variation between splits. Calibration error: \
expected, 15 bins, as a fraction; resampling raises it, so that its interval lies high. Ahead by: the \
discriminator's top-1 minus the method's, in percentage points, paired.

{system}, {versions}; {seconds:.0f} s in total."""

_TAIL = """\
The realism head separates complaints from garbled copies (words shuffled, lost or repeated): area under the ROC curve \
{fluency}. It judges fluency; there are no patients' texts here to separate real from generated ones.

No text here is a patient's: these figures say nothing about use in care. This software is not a medical device."""

_SETS = {
    HELD_OUT: """\
No template and no phrase of these texts was seen in training. The lexicon, by which symptoms are found, contains \
every phrase of the template engine, the held-out ones too, and finds all symptoms here. So this is the best case for \
all methods that look symptoms up, and naive Bayes has the very figures from which the texts are drawn.""",
    UNKNOWN: """\
The same texts, read with a lexicon without the held-out phrases and without its variants: the worst case for all \
methods that look symptoms up. They find a few in a hundred, and take others for coarser ones ("a wet cough" for a \
cough).""",
    LISTED: """\
The lay terms of the conditions, written by hand without templates, read with the whole lexicon. They are few, and the \
lexicon's own tests require that it understands them.""",
}


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write `report.md` and `report.json`. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**asdict(evaluation), "machine": platform.platform(), "versions": _versions()}
    (folder / "report.md").write_text(markdown(evaluation), encoding="utf-8")
    (folder / "report.json").write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")


def markdown(evaluation: Evaluation) -> str:
    """Return the tables as Markdown, each with a note on what it shows and does not show."""
    head = _HEAD.format(
        encoder=f"{evaluation.encoder}, {'trained too' if evaluation.train_encoder else 'frozen'}",
        seeds=", ".join(map(str, evaluation.seeds)),
        learned=evaluation.sizes["learned from"],
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        versions=", ".join(f"{name} {number}" for name, number in _versions().items()),
        seconds=evaluation.seconds,
    )
    parts = [
        f"### {name.capitalize()} ({evaluation.sizes[name]:,} a seed)\n\n{_SETS[name]}\n\n{_table(rows)}"
        for name, rows in evaluation.tables.items()
    ]
    fluency = ", ".join(f"{value:.3f}" for value in evaluation.fluency)
    return "\n\n".join([head, *parts, _TAIL.format(fluency=fluency)]) + "\n"


def _table(rows: Mapping[str, Figures]) -> str:
    names = next(iter(rows.values())).values
    head = ("method", *names, "ahead by")
    lines = [head, ("---",) * len(head), *(tuple(_row(method, one)) for method, one in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(method: str, figures: Figures) -> Iterator[str]:
    yield method
    for name, one in figures.values.items():
        yield _format(one, 1.0, 3) if name == "calibration error" else _format(one, 100.0, 1)
    yield _format(figures.ahead, 100.0, 1, "+") if figures.ahead else ""


def _format(one: Estimate, scale: float, digits: int, sign: str = "") -> str:
    value, low, high = (f"{part * scale:{sign}.{digits}f}" for part in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}
