"""A partial file as an orderly stop leaves it."""

from __future__ import annotations

from pathlib import Path

from phaita_loader._transfer.partial import Partial
from tests.unit.fakes import listed, noise

DATA = noise(1000)
FILE = listed("model.safetensors", DATA)


def left_behind(folder: Path, data: bytes = DATA[:400], *, offset: int = 0) -> Path:
    """Leave a partial file as an orderly stop does; return its folder."""
    partial = Partial(folder, FILE)
    partial.write(offset, data)
    partial.release()
    return folder / FILE.digest
