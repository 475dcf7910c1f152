"""A fresh process that loads one model by one contender. `python -m tests.bench.initialise.child JOB` (JSON).

With `imports` it imports all beforehand, prints `ready` and waits for a line; without, it does what a script would do,
and `spawned` is when its parent started it (seconds of CLOCK_MONOTONIC, which all processes share).
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any

from .contenders import CONTENDERS, OURS, READERS, imported
from .memory import above, footprint, reset_peak
from .models import LoadSpec


def now() -> float:
    """Seconds of the clock that parent and child share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Stages:
    """The stages that have ended, with their seconds."""

    def __init__(self, begin: float) -> None:
        self.last = begin
        self.ended: list[tuple[str, float]] = []

    def __call__(self, name: str) -> None:
        """The stage of this name ends now."""
        self.last, before = now(), self.last
        self.ended.append((name, self.last - before))

    def split(self, steps: dict[str, float]) -> None:
        """The steps that a contender took within the stage that ends now, then what is left of it."""
        self.last, before = now(), self.last
        self.ended += steps.items()
        self.ended.append(("rest of the load", self.last - before - sum(steps.values())))


def script(job: dict[str, Any], spec: LoadSpec) -> dict[str, Any]:
    """From the spawn to the model's first answer, as a script would get there."""
    stages = Stages(job["spawned"])
    stages("interpreter")
    loaded_model = CONTENDERS[job["contender"]](spec, stages)
    _synchronise(spec)
    stages.split(dict(loaded_model.steps))
    ready = stages.last
    from .use import forward

    stages.last = now()
    forward(loaded_model.model)
    stages("first forward")
    seconds = {"loaded": ready - job["spawned"], "forward": stages.ended[-1][1]}
    seconds["ready"] = sum(seconds.values())
    return {"seconds": seconds, "stages": stages.ended, "how": loaded_model.how}


def prepared(job: dict[str, Any], spec: LoadSpec) -> dict[str, Any]:
    """One load in a process that has imported all, and what it holds then and after what is done with the model."""
    imported(spec, lambda _: None)
    if job["contender"] in (OURS, *READERS):
        import_module(job["contender"])  # named like their packages
    from .use import forward, peaks, step, touch

    if spec.device != "cpu":
        import_module("torch").zeros(1, device=spec.device)  # the context is made before the clock starts
    _wait()
    reset_peak()
    before, seconds, memory = footprint(), {}, {}
    begin = now()
    loaded_model = CONTENDERS[job["contender"]](spec, lambda _: None)
    _synchronise(spec)
    seconds["load"] = now() - begin
    memory["load"] = above(footprint(), before) | peaks()
    for moment, action in {"touch": touch, "forward": forward, "step": step}.items():
        if moment in job["moments"]:
            begin = now()
            action(loaded_model.model)
            seconds[moment] = now() - begin
            memory[moment] = above(footprint(), before) | peaks()
    seconds["touched"] = seconds["load"] + seconds["touch"]
    return {"seconds": seconds, "memory": memory, "how": loaded_model.how}


def _synchronise(spec: LoadSpec) -> None:
    if spec.device != "cpu":
        import_module("torch").cuda.synchronize()


def _wait() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main(job: dict[str, Any]) -> None:
    """Do it, and tell in one line."""
    spec = LoadSpec(**job["spec"])
    told = prepared(job, spec) if job["imports"] else script(job, spec)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
