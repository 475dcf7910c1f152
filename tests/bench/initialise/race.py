"""Contenders in turn, round by round: in fresh processes, or again and again in this one."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.device import synchronise
from tests.support.environment import clean_environment

from .child import now
from .cold import evict, resident
from .contenders import CONTENDERS, OURS, THEIRS
from .limits import read
from .models import LoadSpec
from .run import Races, Run

ROOT = Path(__file__).parents[3]
MOMENTS = ("touch", "forward", "step")
"""The actions on a loaded model, in this order."""
_SECONDS = 300.0
_COLD = 0.01


def first(spec: LoadSpec, names: tuple[str, ...], rounds: int, *, cold: bool = False) -> Races:
    """The first load in a process that has imported all; with `cold` the weights are on the disk only.

    The processes of a round import side by side, which is not timed, and then load one after the other; each round
    another one begins. Warm loads stop at the touch, but those of the first round whose memory is compared.
    """
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(rounds):
        turns = names[number % len(names) :] + names[: number % len(names)]
        warm(Path(spec.source))
        short = cold or number > 0
        with _started(spec, {name: MOMENTS[:1] if short else moments(spec, name) for name in turns}) as processes:
            for name, process in processes.items():
                if cold:
                    evict_all(Path(spec.source))
                runs[name].append(_told(process, "go\n"))
    return runs


def script(spec: LoadSpec, names: Sequence[str], rounds: int, **variables: str) -> Races:
    """A whole script, from the start of its interpreter to the model's first answer; an empty HF_HOME each time."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as home:
                here = spec if spec.offline else LoadSpec(**asdict(spec) | {"cache": f"{home}/hub"})
                runs[name].append(_told(_spawn(here, name, home, variables)))
    return runs


def repeated(spec: LoadSpec, names: Sequence[str], rounds: int) -> Races:
    """One load after the other in this process; the first round warms up and does not count."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name in names:
            gc.collect()
            synchronise()
            begin = time.perf_counter()
            loaded_model = CONTENDERS[name](spec, lambda _: None)
            synchronise()
            runs[name].append(Run({"load": time.perf_counter() - begin}, how=loaded_model.how))
            del loaded_model
    return {name: timed[1:] for name, timed in runs.items()}


def moments(spec: LoadSpec, name: str) -> tuple[str, ...]:
    """Those of the two whose memory is compared, which can't be trained in four bits; of others the touch."""
    if name not in (THEIRS, OURS):
        return MOMENTS[:1]
    return MOMENTS[:2] if spec.four_bit else MOMENTS


def warm(folder: Path) -> None:
    """Put the folder's weights into memory."""
    for path in weights(folder):
        read(path)


def evict_all(folder: Path) -> None:
    """Put the folder's weights out of memory. Raises AssertionError where they stay."""
    gc.collect()  # a model that nobody holds may still have them mapped
    for path in weights(folder):
        evict(path)
        share = resident(path)
        assert share < _COLD, f"{share:.0%} of {path.name} stayed in the page cache"


def weights(folder: Path) -> list[Path]:
    """The large files."""
    return sorted(path.resolve() for path in folder.iterdir() if path.suffix in {".bin", ".safetensors"})


@contextmanager
def _started(spec: LoadSpec, moments: Mapping[str, tuple[str, ...]]) -> Iterator[Mapping[str, subprocess.Popen[str]]]:
    processes: dict[str, subprocess.Popen[str]] = {}
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as home:
        try:
            for name, after in moments.items():
                processes[name] = _spawn(spec, name, home, {}, imports=True, moments=after)
            for name, process in processes.items():
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n", f"{name} failed"
            yield processes
        finally:
            for process in processes.values():
                process.kill()
                process.communicate()


def _spawn(spec: LoadSpec, name: str, home: str, variables: Mapping[str, str], **words: Any) -> subprocess.Popen[str]:
    offline = {"HF_HUB_OFFLINE": "1"} if spec.offline else {}
    job = {"contender": name, "spec": asdict(spec), "imports": False, **words, "spawned": now()}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.initialise.child", json.dumps(job)],
        cwd=ROOT,
        env=clean_environment(home, **offline, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _told(process: subprocess.Popen[str], word: str = "") -> Run:
    try:
        said, _ = process.communicate(word, timeout=_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, f"a contender failed: {process.args!r}"
    return Run(**json.loads(said.splitlines()[-1]))
