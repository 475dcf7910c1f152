"""The memory of a process as the kernel counts it (Linux: proc_pid_smaps(5), proc_pid_status(5))."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

FIGURES = ("VmHWM", "USS", "PSS", "anonymous")
_KIB = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)
_RESET_PEAK = "5"


def footprint() -> dict[str, int]:
    """The `FIGURES` of this process, in bytes; empty where there is no such account."""
    here = Path("/proc/self")
    try:
        return read(here.joinpath("smaps_rollup").read_text("ascii"), here.joinpath("status").read_text("ascii"))
    except OSError:
        return {}


def reset_peak() -> None:
    """From now on VmHWM is the peak since now; where the kernel refuses, it stays that of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, "ascii")


def read(rollup: str, status: str) -> dict[str, int]:
    """The figures in bytes; those are left out that the texts lack."""
    seen = _fields(rollup)
    figures = {"VmHWM": _fields(status).get("VmHWM"), "PSS": seen.get("Pss"), "anonymous": seen.get("Anonymous")}
    if {"Private_Clean", "Private_Dirty"} <= seen.keys():
        figures["USS"] = seen["Private_Clean"] + seen["Private_Dirty"]
    return {name: kib << 10 for name in FIGURES if (kib := figures.get(name)) is not None}


def above(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Return the difference of each figure."""
    return {name: count - before[name] for name, count in now.items() if name in before}


def _fields(text: str) -> dict[str, int]:
    return {name: int(kib) for name, kib in _KIB.findall(text)}
