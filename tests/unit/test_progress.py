from __future__ import annotations

import io
import sys
from dataclasses import FrozenInstanceError

import pytest

from phaita_loader.progress import Done, Dropped, Event, Plan, Received, Resumed, Verified, Wait, bar, silent

EVENTS: list[Event] = [
    Plan("org/name", 2, 1000, 100),
    Resumed("a", 100),
    Received("a", 500),
    Dropped("a", "the Hub reset the connection"),
    Wait("the Hub answered 503", 10.0, 1010.0),
    Received("a", -600),
    Received("a", 1000),
    Verified("a"),
    Done("c" * 40),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)


def test_the_bar_follows_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set here and not in a fixture: pytest puts its own streams back between the two.
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with bar() as listen:
        for event in EVENTS:
            listen(event)
    shown = terminal.getvalue()
    assert "org/name" in shown
    assert "dropped (the Hub reset the connection), resuming" in shown
    assert "the Hub answered 503; waiting 10 s" in shown


@pytest.mark.parametrize("value", ["1", "true", "ON", "Yes"])
def test_a_variable_turns_it_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", value)
    with bar() as listen:
        assert listen is silent
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), None], ids=["a file", "none"])
def test_no_terminal_no_bar(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with bar() as listen:
        for event in EVENTS:
            listen(event)
    assert stream is None or stream.getvalue() == ""


def test_events_are_values() -> None:
    with pytest.raises(FrozenInstanceError):
        EVENTS[0].total = 1  # type: ignore[misc, union-attr]  # the assignment is to fail
    assert len(set(EVENTS)) == len(EVENTS)
