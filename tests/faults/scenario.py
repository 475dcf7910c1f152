"""Scenarios: one TOML file each, read into frozen values. toxiproxy/README.md explains the words."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.faults.reader import ScenarioError, Table
from tests.hub import Answer

FOLDER = Path(__file__).parents[2] / "toxiproxy" / "scenarios"
ORIGINS = ("hub", "cdn")


@dataclass(frozen=True)
class Toxic:
    """One of Toxiproxy's toxics, in its own words and units."""

    type: str
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lift:
    """When the fault goes away: seconds after the contender's call, or connections that `limit_data` has ended."""

    after_seconds: float | None = None
    after_drops: int | None = None


@dataclass(frozen=True)
class Expect:
    """What the loader has to do; None is no demand. `within` is seconds of the call."""

    outcome: str
    attempts: int | None = None
    transfer_ratio_max: float | None = None
    within: float | None = None

    def __str__(self) -> str:
        parts = [self.outcome]
        parts += [] if self.attempts is None else [f"{self.attempts} failed attempt{'' if self.attempts == 1 else 's'}"]
        parts += [] if self.transfer_ratio_max is None else [f"ratio at most {self.transfer_ratio_max:g}"]
        parts += [] if self.within is None else [f"within {self.within:g} s"]
        return ", ".join(parts)


@dataclass(frozen=True)
class Patience:
    """The loader's policy, in `phaita_loader.Policy`'s words; seconds."""

    attempts: int = 3
    timeout: float = 60.0
    stall: float = 3.0
    connect: float = 2.0
    deadline: float | None = None
    backoff: Mapping[str, float] = field(default_factory=lambda: {"first": 0.5})


@dataclass(frozen=True)
class Scenario:
    """One fault and what is expected under it. `cap` is the seconds after which a contender is killed."""

    name: str
    title: str
    expect: Expect
    on: Literal["hub", "cdn", "both"] = "both"
    repo: str = "bert-base-uncased"
    size: str = "tiny"
    prepare: Literal["", "missing", "gated"] = ""
    toxics: tuple[Toxic, ...] = ()
    down: bool = False
    lift: Lift | None = None
    answers: tuple[Answer, ...] = ()
    policy: Patience = field(default_factory=Patience)
    cap: float = 30.0

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the toxics act."""
        return ORIGINS if self.on == "both" else (self.on,)

    @property
    def drop_bytes(self) -> int:
        """Bytes after which `limit_data` ends a connection; 0 without that toxic."""
        return next((int(one.attributes["bytes"]) for one in self.toxics if one.type == "limit_data"), 0)


def read(path: Path) -> Scenario:
    """One scenario file; ScenarioError names the file and what is wrong in it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path.name}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path.name}: not TOML: {error}") from error
    return _scenario(path.stem, Table(path.name, "", content))


def read_all(folder: Path = FOLDER) -> tuple[Scenario, ...]:
    """Every scenario of a folder, the plain ones first: by number of bytes, then by name."""
    scenarios = tuple(read(path) for path in folder.glob("*.toml"))
    if not scenarios:
        raise ScenarioError(f"no scenario (*.toml) in {folder.name}")
    return tuple(sorted(scenarios, key=lambda one: (one.name != "clean", one.size != "tiny", one.name)))


def _scenario(name: str, table: Table) -> Scenario:
    scenario = Scenario(
        name=name,
        title=table.text("title"),
        expect=_expect(table.table("expect", needed=True)),
        on=table.choice("on", ("both", "hub", "cdn")),
        repo=table.text("repo", "bert-base-uncased"),
        size=table.choice("size", ("tiny", "medium")),
        prepare=table.choice("prepare", ("", "missing", "gated")),
        toxics=tuple(_toxic(one) for one in table.tables("toxics")),
        down=table.flag("down"),
        lift=_lift(table.table("lift")),
        answers=tuple(_answer(one) for one in table.tables("answers")),
        policy=_patience(table.table("policy")),
        cap=table.number("cap", 30.0),
    )
    table.done()
    if scenario.lift and scenario.lift.after_drops and not scenario.drop_bytes:
        raise ScenarioError(f"{table.file}: lift.after_drops counts what limit_data ends, and there is no limit_data")
    return scenario


def _expect(table: Table) -> Expect:
    expect = Expect(
        table.text("outcome"),
        table.whole("attempts"),
        table.number("transfer_ratio_max", None),
        table.number("within", None),
    )
    return table.done(expect)


def _toxic(table: Table) -> Toxic:
    attributes = table.table("attributes")
    toxic = Toxic(
        table.text("type"),
        table.choice("stream", ("downstream", "upstream")),
        table.number("toxicity", 1.0),
        attributes.numbers(),
    )
    if toxic.type == "limit_data" and "bytes" not in toxic.attributes:
        raise attributes.wrong("bytes", "is missing")
    return table.done(toxic)


def _lift(table: Table) -> Lift | None:
    lift = Lift(table.number("after_seconds", None), table.whole("after_drops"))
    if table.given and (lift.after_seconds is None) == (lift.after_drops is None):
        raise table.wrong("", "needs after_seconds or after_drops, one of them")
    return table.done(lift) if table.given else None


def _answer(table: Table) -> Answer:
    try:
        return Answer(**table.rest())
    except (TypeError, ValueError) as error:
        raise table.wrong("", f"is no answer of the local Hub: {error}") from error


def _patience(table: Table) -> Patience:
    default = Patience()
    backoff: dict[str, Any] = table.table("backoff").numbers()
    patience = Patience(
        table.whole("attempts") or default.attempts,
        table.number("timeout", default.timeout),
        table.number("stall", default.stall),
        table.number("connect", default.connect),
        table.number("deadline", default.deadline),
        {**default.backoff, **backoff},
    )
    return table.done(patience)
