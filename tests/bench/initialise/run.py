"""One load as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """The cost of one load.

    seconds  by what took them: "load", "touch", "touched" (both), "forward", "step"; "loaded", "ready" since the spawn
    stages   the parts of "ready" in order
    memory   bytes above what the imports took, by moment and figure
    how      what the contender said of its way
    """

    seconds: Mapping[str, float]
    stages: Sequence[tuple[str, float]] = ()
    memory: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    how: str = ""


Races = Mapping[str, Sequence[Run]]
"""The runs of each contender."""
