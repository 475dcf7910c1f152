"""The measurements of a session, and the figures derived from them. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from .contenders import OURS, THEIRS
from .run import Races

NO_CUDA = "CPU: no CUDA device was found"


@dataclass(frozen=True)
class Measure:
    """One figure of a run: which race it comes from, and which of the run's seconds it is."""

    name: str
    title: str
    race: str
    field: str


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("load-first", "load call, first in a process", "first", "load"),
        Measure("load-touch", "load + touch every byte", "first", "touched"),
        Measure("load-repeated", "load call, repeated in one process", "repeated", "load"),
        Measure("cold-touch", "load + touch every byte, cold page cache", "cold", "touched"),
        Measure("first-forward", "first forward after a load", "script", "forward"),
        Measure("ready", "fresh process to ready (first forward done)", "script", "ready"),
        Measure("ready-download", "fresh process to ready, download at 150 MB/s included", "download", "ready"),
    )
}


@dataclass
class Results:
    """Races by model and kind.

    limits: bytes a second. sizes: bytes of the weights by model. about: date, machine, versions and command.
    """

    device: str
    about: Mapping[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    races: dict[str, dict[str, Races]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def models(self) -> tuple[str, ...]:
        """Those that were measured, in order."""
        return tuple(self.races)

    def contenders(self, measure: str) -> tuple[str, ...]:
        """Those of whom there is such a figure of any model."""
        kind = MEASURES[measure].race
        return tuple(dict.fromkeys(name for races in self.races.values() for name in races.get(kind, {})))

    def seconds(self, model: str, measure: str, contender: str) -> list[float]:
        """Of every round; none where it was not measured."""
        known = MEASURES[measure]
        runs = self.races.get(model, {}).get(known.race, {}).get(contender, ())
        return [run.seconds[known.field] for run in runs if known.field in run.seconds]

    def middle(self, model: str, measure: str, contender: str) -> float | None:
        """The median in seconds."""
        seconds = self.seconds(model, measure, contender)
        return median(seconds) if seconds else None

    def speedup(self, model: str, measure: str) -> float | None:
        """Return the median time of plain transformers as a multiple of this loader's."""
        ours, theirs = (self.middle(model, measure, name) for name in (OURS, THEIRS))
        return theirs / ours if ours and theirs else None

    def memory(self, model: str, contender: str) -> dict[str, dict[str, float]]:
        """Median bytes above what the imports took, by moment and figure."""
        runs = [run.memory for run in self.races.get(model, {}).get("first", {}).get(contender, ())]
        found: dict[str, dict[str, float]] = {}
        for moment in dict.fromkeys(moment for memory in runs for moment in memory):
            there = [memory[moment] for memory in runs if moment in memory]
            found[moment] = {figure: median(one[figure] for one in there) for figure in there[0]}
        return found

    def stages(self, model: str, contender: str, kind: str = "script") -> dict[str, float]:
        """Median seconds of each stage of a fresh process, in order."""
        runs = [dict(run.stages) for run in self.races.get(model, {}).get(kind, {}).get(contender, ())]
        names = dict.fromkeys(name for stages in runs for name in stages)
        return {name: median(stages[name] for stages in runs if name in stages) for name in names}

    def ways(self, model: str) -> str:
        """Return how this loader built the model, by its own account (`Loaded.path`)."""
        races = self.races.get(model, {}).values()
        return ", ".join(sorted({run.how for race in races for run in race.get(OURS, ()) if run.how}))

    def share(self, model: str, measure: str, contender: str, limit: str) -> float | None:
        """Bytes of weights a second, as a part of what the machine can do."""
        seconds = self.middle(model, measure, contender)
        if not seconds or model not in self.sizes or limit not in self.limits:
            return None
        return self.sizes[model] / seconds / self.limits[limit]

    def content(self) -> dict[str, Any]:
        """All of it, for JSON."""
        races = {
            model: {
                kind: {name: [asdict(run) for run in runs] for name, runs in race.items()} for kind, race in of.items()
            }
            for model, of in self.races.items()
        }
        words = {"device": self.device, "about": self.about, "limits": self.limits, "sizes": self.sizes}
        return {**words, "races": races, "notes": self.notes}


def middles(results: Results, measure: str) -> Sequence[tuple[str, Mapping[str, float]]]:
    """Each model that has the measure, with its contenders' medians."""
    rows = []
    for model in results.models:
        found = {name: results.middle(model, measure, name) for name in results.contenders(measure)}
        if there := {name: seconds for name, seconds in found.items() if seconds is not None}:
            rows.append((model, there))
    return rows
