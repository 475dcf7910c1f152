"""The rows that were measured, as a page, as JSON and as lines for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.grid import aligned, markdown, short


@dataclass(frozen=True)
class Row:
    """One figure of this loader's, and beside whose it stands.

    With `theirs` the measure is `ours / theirs`, else `ours` itself; `limit` is the most that it should be.
    """

    what: str
    unit: str
    ours: float
    against: str = ""
    theirs: float | None = None
    limit: float | None = None

    @property
    def measure(self) -> float:
        """The figure that the limit bounds."""
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def missed(self) -> bool:
        """True if the measure is above the limit."""
        return self.limit is not None and self.measure > self.limit

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        sign = "" if self.theirs is None else "x"
        theirs = "" if self.theirs is None else f"{short(self.theirs)} {self.unit}"
        limit = "" if self.limit is None else f"{short(self.limit)}{sign}"
        measure = f"{self.measure:.2f}x" if sign else ""
        verdict = "" if self.limit is None else "missed" if self.missed else "met"
        return self.what, f"{short(self.ours)} {self.unit}", self.against, theirs, measure, limit, verdict


HEAD = ("what", "this loader", "beside", "takes", "ratio", "at most", "")


@dataclass
class Table:
    """The rows of a session; `about` is its date, machine, versions and command."""

    about: Mapping[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """fetch.md and fetch.json in this folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fetch.md").write_text(self.page(), encoding="utf-8")
        rows = [{**asdict(row), "measure": row.measure, "missed": row.missed} for row in self.rows]
        content = {"about": self.about, "rows": rows, "notes": self.notes, "runs": self.runs}
        (folder / "fetch.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def page(self) -> str:
        """The table as Markdown."""
        about = [f"- {name}: {text}" for name, text in self.about.items()]
        table = markdown([HEAD, *(row.cells() for row in self.rows)])
        return "\n".join(["# Fetch", "", *about, "", *table, "", *(f"- {note}" for note in self.notes), ""])

    def lines(self) -> list[str]:
        """The table for a terminal."""
        return aligned([HEAD, *(row.cells() for row in self.rows)]) + self.notes
