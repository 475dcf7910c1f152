from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phaita_loader._transfer.flusher import FLUSH, Recorder
from phaita_loader._transfer.leftovers import present
from phaita_loader._transfer.partial import Partial
from phaita_loader.listing import RemoteFile

MIB = 1 << 20
BIG = RemoteFile("big.bin", 64 * MIB, "b" * 64, "sha256")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


@pytest.fixture
def partial(folder: Path) -> Iterator[Partial]:
    partial = Partial(folder, BIG)
    yield partial
    partial.discard()


def test_a_power_cut_costs_less_than_the_limit(partial: Partial) -> None:
    mutex = threading.Lock()
    recorder = Recorder(partial, mutex)
    for at in range(32):
        with mutex:
            partial.write(at * MIB, bytes(MIB))
            recorder.catch_up()
        assert partial.unsynced < FLUSH + MIB
    assert recorder.stop()


class Told(Partial):
    """Says when a record is written."""

    recorded = threading.Event()

    def note(self) -> None:
        super().note()
        self.recorded.set()


def test_what_little_there_is_is_recorded_after_a_while(folder: Path) -> None:
    mutex, partial = threading.Lock(), Told(folder, BIG)
    recorder = Recorder(partial, mutex, every=0.01)
    with mutex:
        partial.write(0, b"a few bytes")
        recorder.catch_up()
    assert partial.recorded.wait(10)
    assert present(folder, [BIG]).total() == 11
    assert recorder.stop()
    partial.discard()


def test_a_record_that_cant_be_written_is_told(partial: Partial) -> None:
    mutex = threading.Lock()
    recorder = Recorder(partial, mutex)
    shutil.rmtree(partial.path.parent)

    def fill() -> None:
        for at in range(32):
            with mutex:
                partial.write(at * MIB, bytes(MIB))
                recorder.catch_up()

    with pytest.raises(FileNotFoundError):
        fill()
    assert recorder.stop()


def test_one_that_has_nothing_to_do_ends_at_once(partial: Partial) -> None:
    recorder = Recorder(partial, threading.Lock())
    assert recorder.stop()


def test_what_the_disk_refused_is_not_claimed(folder: Path, partial: Partial, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so once: a second flush of the same bytes would be called done."""
    refusals = [OSError(errno.EIO, "Input/output error")]

    def refuse_once(_: int) -> None:
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", refuse_once)
    mutex = threading.Lock()
    recorder = Recorder(partial, mutex)
    with mutex:
        partial.write(0, bytes(FLUSH))
        with pytest.raises(OSError, match="Input/output error"):
            recorder.catch_up()
    assert recorder.stop()
    assert (partial.size, present(folder, [BIG]).total()) == (0, 0)
