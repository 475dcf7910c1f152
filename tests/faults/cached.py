"""The state of a contender's cache before the call: filled by a call without faults, then changed by the scenario."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from tests.faults.schema import Prepare

WEIGHTS = "model.safetensors"


def spoil(prepare: Prepare, home: Path) -> None:
    """Change a whole cache as the scenario says."""
    _CHANGES[prepare](home)


def writable(home: Path) -> None:
    """Give back the right to write, so that the folder can be removed."""
    for folder, _, _ in os.walk(home):
        Path(folder).chmod(0o755)


def _nothing(_home: Path) -> None:
    return


def _lose(home: Path) -> None:
    """Neither the weights nor their name are there."""
    weights = _weights(home)
    weights.resolve().unlink()
    weights.unlink(missing_ok=True)


def _flip(home: Path) -> None:
    """One byte in the middle of the weights is another."""
    blob = _weights(home).resolve()
    with blob.open("r+b") as file:
        file.seek(blob.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0xFF]))


def _truncate(home: Path) -> None:
    """The second half of the weights is missing."""
    blob = _weights(home).resolve()
    os.truncate(blob, blob.stat().st_size // 2)


def _lock_up(home: Path) -> None:
    """Nothing in the cache can be written."""
    for folder, _, files in os.walk(home, topdown=False):
        for path in [*(Path(folder, name) for name in files), Path(folder)]:
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def _weights(home: Path) -> Path:
    return next(home.rglob(f"snapshots/*/{WEIGHTS}"))


_CHANGES: dict[Prepare, Callable[[Path], None]] = {
    "cached": _nothing,
    "cached_partial": _lose,
    "damaged": _flip,
    "truncated": _truncate,
    "read_only": _lock_up,
}
