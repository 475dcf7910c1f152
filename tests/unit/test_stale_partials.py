"""Partial files that an earlier owner left: taken up again, rejected, or cleaned up."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phaita_loader._transfer.journal import FORMAT, NAME
from phaita_loader._transfer.partial import Partial, bytes_present, remove_stale
from phaita_loader.listing import RemoteFile
from tests.unit.partials import DATA, FILE, left_behind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


# The killed owner's file object is never closed by anybody.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_kill_costs_what_was_not_recorded(folder: Path) -> None:
    partial = Partial(folder, FILE)
    partial.write(0, DATA[:300])
    partial.flush()
    partial.write(300, DATA[300:350])
    del partial
    gc.collect()
    assert bytes_present(folder, [FILE]).total() == 300
    again = Partial(folder, FILE)
    assert again.ranges.prefix == 300
    again.release()
    assert [path.name for path in folder.iterdir()] == [FILE.digest]


def test_of_several_the_fullest_is_taken_and_the_rest_cleared(folder: Path) -> None:
    for count, name in ((100, "1-a"), (700, "2-b"), (300, "3-c")):
        left_behind(folder, DATA[:count]).rename(folder / f"{FILE.digest}.{name}")
    (folder / f"{FILE.digest}.4-empty").mkdir()
    other = folder / ("e" * 64)
    other.mkdir()
    partial = Partial(folder, FILE)
    assert partial.ranges.prefix == 700
    partial.release()
    assert sorted(folder.iterdir()) == sorted([folder / FILE.digest, other])


def test_two_owners_whose_locks_lie_do_not_share(folder: Path) -> None:
    left_behind(folder)
    one = Partial(folder, FILE)
    other = Partial(folder, FILE)
    other.write(400, DATA[400:])
    with pytest.raises(FileNotFoundError):
        one.flush()
    other.publish(folder / "blob")
    assert (folder / "blob").read_bytes() == DATA
    one.discard()


def test_a_release_into_a_name_that_is_taken_is_found_all_the_same(folder: Path) -> None:
    partial = Partial(folder, FILE)
    partial.write(0, DATA[:500])
    (folder / FILE.digest).mkdir()
    (folder / FILE.digest / "data").touch()
    partial.release()
    assert bytes_present(folder, [FILE]).total() == 500


def altered(**fields: Any) -> Callable[[Path], None]:
    def alter(home: Path) -> None:
        record = home / NAME
        record.write_text(json.dumps(json.loads(record.read_text()) | fields) + "\n")

    return alter


def both(spans: Any) -> Callable[[Path], None]:
    return altered(synced=spans, written=spans)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no record": lambda home: (home / NAME).unlink(),
    "no data": lambda home: (home / "data").unlink(),
    "half a record": lambda home: os.truncate(home / NAME, 20),
    "empty record": lambda home: os.truncate(home / NAME, 0),
    "binary record": lambda home: (home / NAME).write_bytes(b"\xff\xfe"),
    "a record of another kind": lambda home: (home / NAME).write_text("[1]"),
    "another format": altered(format=FORMAT + 1),
    "an end that no file has": altered(synced=[[0, float("inf")]]),
    "another size": altered(size=999),
    "another file": altered(digest="f" * 64),
    # It claims bytes that the file does not have: they were lost with the power.
    "shorter data": lambda home: os.truncate(home / "data", 399),
    "beyond the end": both([[0, 1001]]),
    "backwards": both([[300, 200]]),
    "negative": both([[-5, 200]]),
    "no ranges": both("all"),
    "odd ranges": both([[1, 2, 3]]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_record_that_cant_be_trusted_starts_anew(folder: Path, damage: str) -> None:
    DAMAGES[damage](left_behind(folder))
    assert bytes_present(folder, [FILE]).total() == 0
    partial = Partial(folder, FILE)
    assert partial.ranges.spans == ()
    partial.write(0, DATA)
    assert partial.path.read_bytes() == DATA
    partial.discard()


def test_what_nobody_asked_for_again_is_cleaned(folder: Path) -> None:
    left = {name: left_behind(folder).rename(folder / name) for name in ("a" * 64, "b" * 40, "c" * 64 + ".12-ab")}
    left |= {name: folder / name for name in ("new-12-ab", "link-12-ab")}
    for name in ("new-12-ab", "link-12-ab"):
        left[name].touch()
    (folder / "stamps").mkdir()
    (folder / "listings").mkdir()
    for path in [*left.values(), folder / "stamps", folder / "listings"]:
        os.utime(path, (0, 0))
    young = left_behind(folder)
    remove_stale(folder, {"b" * 40})
    assert sorted(path.name for path in folder.iterdir()) == sorted(["b" * 40, young.name, "stamps", "listings"])


def test_cleaning_where_there_is_nothing(folder: Path) -> None:
    remove_stale(folder, set())


@pytest.mark.parametrize(
    "torn", [b'{"format": 2, "size"', b"\0" * 100, b"\xff\xfe\n", b"[1]\n", b"\n\n", b"[" * 100_000 + b"\n"]
)
def test_a_torn_line_costs_that_line(folder: Path, torn: bytes) -> None:
    home = left_behind(folder)
    with (home / NAME).open("ab") as record:
        record.write(torn)
    assert bytes_present(folder, [FILE]).total() == 400
    partial = Partial(folder, FILE)
    partial.write(400, DATA[400:500])
    partial.release()
    assert bytes_present(folder, [FILE]).total() == 500


# The killed owner's file object is never closed by anybody.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("machine", "left"), [("goes on", 5 << 20), ("was started again", 2 << 20)])
def test_a_kill_costs_less_than_a_power_cut(folder: Path, machine: str, left: int) -> None:
    big = RemoteFile("big.bin", 9 << 20, "b" * 64, "sha256")
    partial = Partial(folder, big)
    for at in range(5):
        partial.write(at << 20, bytes(1 << 20))
        if at == 1:
            partial.flush()
    del partial
    gc.collect()
    if machine != "goes on":
        (record,) = folder.glob(f"*/{NAME}")
        lines = [json.loads(line) | {"boot": "another"} for line in record.read_text().splitlines() if line]
        record.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert bytes_present(folder, [big]).total() == left
    again = Partial(folder, big)
    assert (again.ranges.size, again.unsynced) == (left, left - (2 << 20))
    again.discard()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which start of the machine this is")
def test_the_start_of_the_machine_is_known(folder: Path) -> None:
    home = left_behind(folder)
    line = json.loads((home / NAME).read_text())
    assert line["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_partial_that_is_asked_for_again_is_young_again(folder: Path) -> None:
    home = left_behind(folder)
    os.utime(home, (0, 0))
    partial = Partial(folder, FILE)
    remove_stale(folder, set())
    assert partial.path.exists()
    partial.release()
