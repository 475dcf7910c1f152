"""The command line, where it needs no server."""

from __future__ import annotations

import pytest

from phaita_loader.cli import main

NUMBERS = {
    "--attempts": ("0", "attempts"),
    "--timeout": ("-1", "timeout"),
    "--stall": ("0", "stall"),
    "--connect": ("0", "connect"),
    "--deadline": ("0", "deadline"),
    "--backoff-first": ("-1", "first"),
    "--backoff-cap": ("-1", "cap"),
    "--connections": ("0", "connections"),
}


@pytest.mark.parametrize("command", ["fetch", "load"])
@pytest.mark.parametrize("option", NUMBERS)
def test_a_number_that_makes_no_sense_is_not_understood(
    option: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number, name = NUMBERS[option]
    assert main([command, "org/name", option, number]) == 2
    assert capsys.readouterr().err.startswith(name)
