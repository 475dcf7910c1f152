"""Scenarios: one TOML file each, read into frozen values. toxiproxy/README.md explains the words."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.faults.reader import ScenarioError, Table
from tests.faults.schema import CACHED, CONTENDERS, PREPARE, Expect, Lift, Patience, Prepare, Toxic
from tests.hub import Answer

FOLDER = Path(__file__).parents[2] / "toxiproxy" / "scenarios"
ORIGINS = ("hub", "cdn")
ALWAYS = "always"


@dataclass(frozen=True)
class Scenario:
    """One fault and what is expected under it. `cap` is the seconds after which a contender is killed."""

    name: str
    title: str
    expect: Expect
    on: Literal["hub", "cdn", "both"] = "both"
    repo: str = "bert-base-uncased"
    size: str = "tiny"
    pinned: bool = False
    files_only: bool = False
    contenders: tuple[str, ...] = CONTENDERS
    prepare: Prepare = ""
    processes: int = 1
    kill_at: int | None = None
    disk: int | None = None
    offline: bool = False
    token: str | None = None
    toxics: tuple[Toxic, ...] = ()
    down: bool = False
    lift: Lift | None = None
    answers: tuple[Answer, ...] = ()
    policy: Patience = field(default_factory=Patience)
    cap: float = 30.0

    @property
    def family(self) -> str:
        """The class of fault: the first word of the name."""
        return self.name.partition("_")[0]

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins on which the toxics act."""
        return ORIGINS if self.on == "both" else (self.on,)

    @property
    def drop_bytes(self) -> int:
        """Bytes after which `limit_data` ends a connection; 0 without that toxic."""
        return next((int(one.attributes["bytes"]) for one in self.toxics if one.type == "limit_data"), 0)

    @property
    def cached(self) -> bool:
        """True if an earlier call without faults fills the cache."""
        return self.prepare in CACHED


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
    """Every scenario of a folder, in order."""
    scenarios = tuple(read(path) for path in folder.glob("*.toml"))
    if not scenarios:
        raise ScenarioError(f"no scenario (*.toml) in {folder.name}")
    return in_order(scenarios)


def in_order(scenarios: Iterable[Scenario]) -> tuple[Scenario, ...]:
    """The one without a fault first, then by name: a class stands together."""
    return tuple(sorted(scenarios, key=lambda one: (one.name != "clean", one.family, one.name)))


def _scenario(name: str, table: Table) -> Scenario:
    scenario = Scenario(
        name=name,
        title=table.text("title"),
        expect=_expect(table.table("expect", needed=True)),
        on=table.choice("on", ("both", "hub", "cdn")),
        repo=table.text("repo", "bert-base-uncased"),
        size=table.choice("size", ("tiny", "medium")),
        pinned=table.flag("pinned"),
        files_only=table.flag("files_only"),
        contenders=table.choices("contenders", CONTENDERS),
        prepare=table.choice("prepare", PREPARE),
        processes=table.whole("processes") or 1,
        kill_at=table.whole("kill_at"),
        disk=table.whole("disk"),
        offline=table.flag("offline"),
        token=table.text("token", "") or None,
        toxics=tuple(_toxic(one) for one in table.tables("toxics")),
        down=table.flag("down"),
        lift=_lift(table.table("lift")),
        answers=tuple(_answer(one) for one in table.tables("answers")),
        policy=_patience(table.table("policy")),
        cap=table.number("cap", 30.0),
    )
    table.done()
    return _sensible(scenario, table)


def _sensible(scenario: Scenario, table: Table) -> Scenario:
    """The scenario, if its words go together."""
    if scenario.kill_at == 0:
        raise table.wrong("kill_at", "is some bytes: at 0 there is nothing to kill")
    return scenario


def _expect(table: Table) -> Expect:
    expect = Expect(
        table.text("outcome"),
        table.whole("attempts"),
        table.number("transfer_ratio_max", None),
        table.number("within", None),
        table.whole("requests_max"),
        table.text("says", ""),
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
    if not table.given:
        return None
    after = table.number("after_seconds", None)
    if after is None:
        raise table.wrong("after_seconds", "is missing")
    return table.done(Lift(after, table.number("for_seconds", None)))


def _answer(table: Table) -> Answer:
    words = table.rest()
    # TOML has no word for "no limit", which is None to the Hub.
    if words.get("times") == ALWAYS:
        words["times"] = None
    try:
        return Answer(**words)
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
