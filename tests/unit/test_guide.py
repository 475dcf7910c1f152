"""docs/guide.md agrees with the code: its tables of parameters, options, errors and events, and its links."""

from __future__ import annotations

import inspect
import re
import typing
from dataclasses import fields
from pathlib import Path

import pytest

import phaita_loader
from phaita_loader import Attempt, Backoff, LoaderError, cli, progress
from phaita_loader.request import KINDS
from phaita_loader.retry import SYSTEM

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("packages/*/README.md"))]
CALLS = re.findall(r"^### `(\w+)`$", GUIDE, re.MULTILINE)


def tables(title: str) -> list[list[list[str]]]:
    """Return the cells of the tables below a heading, up to the next one, without their heads."""
    section = re.split(r"^#", GUIDE.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()] for table in found]


def quoted(text: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`]+)`", text)


def parameters(name: str) -> dict[str, str]:
    """Return a public call's parameters and the defaults that the guide should state."""
    found = {}
    for one in inspect.signature(getattr(phaita_loader, name)).parameters.values():
        default = {one.empty: "required", SYSTEM: "SYSTEM"}.get(one.default, repr(one.default))
        default = "Backoff()" if default == "<factory>" else default.replace("'", '"')
        found[str(one).split(":")[0]] = "" if one.kind is one.VAR_KEYWORD else default
    return found


def test_each_public_call_has_a_table() -> None:
    made = {"Backoff", "Hub", "ModelRequest", "Policy"}
    called = {name for name in phaita_loader.__all__ if inspect.isfunction(getattr(phaita_loader, name))}
    assert set(CALLS) == made | called - {"verify"}


@pytest.mark.parametrize("name", CALLS)
def test_parameters_and_defaults_are_those_of_the_code(name: str) -> None:
    assert {row[0].strip("`"): row[1].strip("`") for row in tables(f"`{name}`")[0]} == parameters(name)


def test_the_one_default_that_is_made_anew_each_time() -> None:
    assert phaita_loader.Policy().backoff == Backoff()


def test_kinds_are_those_of_the_code() -> None:
    assert {row[0].strip("`") for row in tables("`ModelRequest`")[1]} == set(KINDS)


def test_options_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    there = {}
    for command in ("fetch", "load", "verify", "doctor"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        there[command] = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
    told: dict[str, set[str]] = {command: set() for command in there}
    for options, commands, _ in tables("On the command line")[1]:
        for command in quoted(commands) or told:
            told[command] |= set(quoted(options))
    assert told == there


def test_errors_are_those_of_the_code() -> None:
    tree = GUIDE.split("## Errors\n", 1)[1].split("|", 1)[0]
    told = re.findall(r"^ {4,}(\w+)", tree, re.MULTILINE)
    errors = {name: one for name in phaita_loader.__all__ if inspect.isclass(one := getattr(phaita_loader, name))}
    assert set(told) == {name for name, one in errors.items() if issubclass(one, LoaderError)}
    by_field, by_error = tables("Errors")
    assert {row[0].strip("`") for row in by_error} == set(told) - {"LoaderError", "ModelDownloadError"}
    assert {row[0].strip("`") for row in by_field} == {*vars(LoaderError("")), "missing", "retry_after"}
    assert quoted(by_field[3][2]) == [field.name for field in fields(Attempt)]


def test_events_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): quoted(row[1]) for row in tables("Progress")[0]}
    events = typing.get_args(progress.Event)
    assert told == {event.__name__: [field.name for field in fields(event)] for event in events}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        assert not path or (document.parent / path).exists(), link
        there = (document.parent / path if path else document).read_text(encoding="utf-8") if anchor else ""
        headings = re.findall(r"^#+ (.+)$", there, re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, link
