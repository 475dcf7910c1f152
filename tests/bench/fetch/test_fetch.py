"""The speed of fetches, beside other clients on the same network. Bytes are checked here, times only shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from .origin import Origin
from .race import FILE, Races, Run, course, mid
from .table import Row, Table

OURS = "phaita_loader"
GIB = 1 << 30
MODEL = 61_000_000
MADE = Callable[[int], Path]


def show(table: Table, what: str, races: Races) -> None:
    """Keep every single run."""
    table.runs[what] = {name: [asdict(run) for run in runs] for name, runs in races.items()}


@pytest.fixture(scope="module")
def gib(origin: Origin, made: MADE, table: Table) -> Races:
    """A clean 1 GiB, five times each."""
    field = (OURS, "hf_hub_download", "curl_then_openssl", "aria2c", "digest_alone", "curl_to_null")
    with course(origin, {FILE: made(GIB)}) as run:
        races = run.race(field, rounds=5)
    show(table, "1 GiB", races)
    table.notes += [f"{name}: not installed" for name in field if name not in races]
    return races


def test_wall(gib: Races, table: Table) -> None:
    """1 GiB over loopback: the digest is verified by all but hf_hub_download, which verifies nothing."""
    limits = {
        "hf_hub_download": 0.35,
        "curl_then_openssl": 0.8,
        "aria2c": 0.6,
        "digest_alone": None,
        "curl_to_null": None,
    }
    for name, limit in limits.items():
        if name in gib:
            table.rows.append(
                Row("1 GiB, wall", "s", mid(gib[OURS], "seconds"), name, mid(gib[name], "seconds"), limit)
            )
    if "curl_to_null" in gib:
        table.notes.append(f"the origin gave curl {GIB / mid(gib['curl_to_null'], 'seconds') / 1e6:.0f} MB/s")


def test_cpu(gib: Races, table: Table) -> None:
    """The same runs in CPU seconds."""
    ours, theirs = mid(gib[OURS], "cpu"), mid(gib["hf_hub_download"], "cpu")
    table.rows.append(Row("1 GiB, CPU", "s", ours, "hf_hub_download", theirs, 0.5))


def test_throttled(origin: Origin, made: MADE, table: Table) -> None:
    """5 MB/s for each connection, 200 MB: what several connections are for."""
    with course(origin, {FILE: made(200_000_000)}, options="/rate=5000000") as run:
        races = run.race((OURS, "hf_hub_download"), rounds=1)
    show(table, "throttled", races)
    ours, theirs = mid(races[OURS], "seconds"), mid(races["hf_hub_download"], "seconds")
    table.rows.append(Row("200 MB at 5 MB/s a connection, wall", "s", ours, "hf_hub_download", theirs, 1 / 3.5))


def test_drops(origin: Origin, made: MADE, table: Table) -> None:
    """Every connection is cut, 32 times at least: more often where pieces end sooner."""
    cut = f"/cut={MODEL // 33 + 1}"
    races: dict[str, list[Run]] = {"clean": [], "cut": []}
    with course(origin, {FILE: made(MODEL)}) as whole, course(origin, {FILE: made(MODEL)}, options=cut) as broken:
        for _ in range(5):
            races["clean"].append(whole.run(OURS))
            races["cut"].append(broken.run(OURS))
    show(table, "drops", races)
    drops = median(len(run.sent) for run in races["cut"]) - 1
    sent = median(sum(run.sent) for run in races["cut"]) / 1e6
    ours, theirs = mid(races["cut"], "seconds"), mid(races["clean"], "seconds")
    table.rows.append(Row(f"61 MB, {drops:.0f} drops, wall", "s", ours, "itself, no drops", theirs, 2.0))
    table.rows.append(Row("the same, sent", "MB", sent, "the file's size", MODEL / 1e6, 1.02))


def test_memory(origin: Origin, made: MADE, gib: Races, table: Table) -> None:
    """Peak memory of the process above that of `import huggingface_hub`, whatever the file's size."""
    with course(origin, {FILE: made(MODEL)}) as run:
        bare = run.run("bare_import").peak
        peaks = {"61 MB": max(run.run(OURS).peak for _ in range(3)), "1 GiB": max(one.peak for one in gib[OURS])}
    if shutil.disk_usage(origin.folder).free > 6 * 4 * GIB:
        with course(origin, {FILE: made(4 * GIB)}) as run:
            peaks["4 GiB"] = run.run(OURS).peak
    theirs = max(one.peak for one in gib["hf_hub_download"])
    for size, peak in peaks.items():
        table.rows.append(Row(f"peak memory, {size}", "MiB", _mib(peak - bare), limit=64.0))
    table.notes.append(f"peak memory of hf_hub_download, 1 GiB: {_mib(theirs - bare):.0f} MiB")


def test_small_files(origin: Origin, table: Table) -> None:
    """1,000 small files, each of which the Hub answers by a redirect and then by its body."""
    files: dict[str, bytes | Path] = {f"part-{at // 100}/{at}.json": b"%d\n" % at * 200 for at in range(1000)}
    with course(origin, files) as run:
        races = run.race((OURS, "snapshot_download"), rounds=3)
    show(table, "1,000 files", races)
    limits = {"seconds": ("1,000 small files, wall", "s", 0.5), "cpu": ("the same, CPU", "s", None)}
    for field, (what, unit, limit) in limits.items():
        ours, theirs = (mid(runs, field) for runs in races.values())
        table.rows.append(Row(what, unit, ours, "snapshot_download", theirs, limit))
    ours, theirs = (mid(runs, "requests") for runs in races.values())
    table.rows.append(Row("the same, requests", "", ours, limit=2003))
    table.notes.append(f"1,000 small files: snapshot_download makes {theirs:.0f} requests")


PERMANENT = [
    ("repo missing", {}, {"repo": "bench/absent"}, "NotFound", 1),
    ("revision missing", {}, {"revision": "absent"}, "NotFound", 1),
    ("no such file", {}, {"pattern": "absent"}, "NotFound", 1),
    ("private, no token", {"private": True}, {}, "NotFound", 1),  # the Hub says no more than that
    ("bad token", {}, {"token": "hf_bad"}, "AccessDenied", 1),
    ("gated, no access", {"gated": True}, {}, "AccessDenied", 2),  # the listing is public
]


@pytest.mark.parametrize(("what", "access", "words", "error", "limit"), PERMANENT, ids=[row[0] for row in PERMANENT])
def test_permanent_errors(
    origin: Origin,
    table: Table,
    what: str,
    access: Any,
    words: dict[str, str],
    error: str,
    limit: int,
) -> None:
    """Errors that no retry can cure end at once."""
    with course(origin, {f"{at}.json": b"%d" % at for at in range(8)}, **access) as closed:
        run = closed.run(OURS, **words)
    assert (run.found["error"], run.found["slept"]) == (error, 0)
    table.rows.append(Row(f"{what}, requests", "", run.requests, limit=limit))
    table.rows.append(Row(f"{what}, wall", "s", run.seconds, limit=1.0))


def _mib(count: int) -> float:
    return count / (1 << 20)
