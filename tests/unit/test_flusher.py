from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phaita_loader._transfer.flusher import FLUSH, Flusher
from phaita_loader._transfer.partial import Partial, bytes_present
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
    flusher = Flusher(partial, mutex)
    for at in range(32):
        with mutex:
            partial.write(at * MIB, bytes(MIB))
            flusher.catch_up()
        assert partial.unsynced < FLUSH + MIB
    assert flusher.cancel()


class Told(Partial):
    """A partial file that sets `recorded` once a journal entry is written."""

    recorded = threading.Event()

    def append_entry(self) -> None:
        super().append_entry()
        self.recorded.set()


def test_what_little_there_is_is_recorded_after_a_while(folder: Path) -> None:
    mutex, partial = threading.Lock(), Told(folder, BIG)
    flusher = Flusher(partial, mutex, every=0.01)
    with mutex:
        partial.write(0, b"a few bytes")
        flusher.catch_up()
    assert partial.recorded.wait(10)
    assert bytes_present(folder, [BIG]).total() == 11
    assert flusher.cancel()
    partial.discard()


def test_a_record_that_cant_be_written_is_told(partial: Partial) -> None:
    mutex = threading.Lock()
    flusher = Flusher(partial, mutex)
    shutil.rmtree(partial.path.parent)

    def fill() -> None:
        for at in range(32):
            with mutex:
                partial.write(at * MIB, bytes(MIB))
                flusher.catch_up()

    with pytest.raises(FileNotFoundError):
        fill()
    assert flusher.cancel()


def test_one_that_has_nothing_to_do_ends_at_once(partial: Partial) -> None:
    flusher = Flusher(partial, threading.Lock())
    assert flusher.cancel()


def test_what_the_disk_refused_is_not_claimed(folder: Path, partial: Partial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk reports it once: a second flush of the same bytes would succeed."""
    refusals = [OSError(errno.EIO, "Input/output error")]

    def refuse_once(_: int) -> None:
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", refuse_once)
    mutex = threading.Lock()
    flusher = Flusher(partial, mutex)
    with mutex:
        partial.write(0, bytes(FLUSH))
        with pytest.raises(OSError, match="Input/output error"):
            flusher.catch_up()
    assert flusher.cancel()
    assert (partial.ranges.size, bytes_present(folder, [BIG]).total()) == (0, 0)
