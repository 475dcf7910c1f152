"""The targets of the bench, and the verdict on each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.grid import short

from .contenders import OURS, THEIRS
from .memory import FIGURES
from .results import MEASURES, Results

ASKED = {
    "load-first": {"deberta-v3-base": 4.0, "bert-base": 4.0, "gpt2": 4.0, "mistral-1.1b": 4.0},
    "load-touch": {"deberta-v3-base": 1.8, "bert-base": 1.8, "gpt2": 1.8, "mistral-1.1b": 1.3},
    "ready-download": {"deberta-v3-base": 1.4},
    "ready": {"deberta-v3-base": 1.05},
}
"""Measure and model -> how many times faster than `from_pretrained`."""

MEMORY = ("deberta-v3-base", "bert-base", "gpt2", "mistral-1.1b")
MEMORY_LIMIT = 1.05
HEAD = ("what", "model", "this loader", "from_pretrained", "ratio", "asked", "")


@dataclass(frozen=True)
class Verdict:
    """One row: `ratio` is to be `asked` at least, or at most."""

    what: str
    model: str
    ours: str
    theirs: str
    ratio: float
    asked: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """True if the target was reached."""
        return self.ratio >= self.asked if self.at_least else self.ratio <= self.asked

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        sign = ">=" if self.at_least else "<="
        asked = f"{sign} {short(self.asked)}x"
        return self.what, self.model, self.ours, self.theirs, f"{self.ratio:.2f}x", asked, ("missed", "met")[self.met]


def verdicts(results: Results) -> list[Verdict]:
    """Those of all that was measured."""
    return [*_speed(results), *_memory(results)]


def not_measured(results: Results) -> list[str]:
    """Return the targets without a figure in this run."""
    pairs = [(measure, model) for measure, models in ASKED.items() for model in models]
    lacking = [f"{MEASURES[name].title}, {model}" for name, model in pairs if results.speedup(model, name) is None]
    return lacking + [f"memory, {model}" for model in MEMORY if not results.memory(model, OURS)]


def _speed(results: Results) -> Iterator[Verdict]:
    for measure, models in ASKED.items():
        for model, asked in models.items():
            ours, theirs = (results.middle(model, measure, name) for name in (OURS, THEIRS))
            if ours and theirs:
                yield Verdict(MEASURES[measure].title, model, time(ours), time(theirs), theirs / ours, asked)


def _memory(results: Results) -> Iterator[Verdict]:
    """The worst of all figures, at each moment."""
    for model in MEMORY:
        ours, theirs = (results.memory(model, name) for name in (OURS, THEIRS))
        for moment, held in ours.items():
            less = theirs.get(moment, {})
            ratios = {figure: held[figure] / less[figure] for figure in FIGURES if figure in held and less.get(figure)}
            if ratios:
                worst = max(ratios, key=lambda figure: ratios[figure])
                what = f"memory at {moment}, worst: {worst}"
                both = size(held[worst]), size(less[worst])
                yield Verdict(what, model, *both, ratios[worst], MEMORY_LIMIT, at_least=False)


def time(seconds: float) -> str:
    """Milliseconds below one second."""
    return f"{short(seconds)} s" if seconds >= 1 else f"{short(seconds * 1e3)} ms"


def size(count: float) -> str:
    """In MiB."""
    return f"{short(count / (1 << 20))} MiB"
