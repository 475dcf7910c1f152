"""A table of a TOML file whose every key is taken once, with its type checked; what is left over is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")
C = TypeVar("C", bound=str)


class ScenarioError(ValueError):
    """An invalid scenario file; the message names the file and the key."""


class Table:
    """The keys of one table, taken one by one; `where` is the path of the table in its file."""

    def __init__(self, file: str, where: str, content: Mapping[str, Any]) -> None:
        self.file = file
        self.given = bool(content)
        self._where = where
        self._left = dict(content)

    def wrong(self, key: str, problem: str) -> ScenarioError:
        """The error about a key of this table; an empty key is the table itself."""
        return ScenarioError(f"{self.file}: {'.'.join(filter(None, (self._where, key)))} {problem}")

    def done(self, value: T = None) -> T:  # type: ignore[assignment]  # None for a reader without a value
        """The value, if every key has been taken."""
        if self._left:
            raise ScenarioError(f"{self.file}: unknown key {', '.join(map(self._path, sorted(self._left)))}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A text; one that is given is not empty."""
        if self._left.get(key) == "":
            raise self.wrong(key, "is empty")
        value = self._take(key, str, default)
        if value is None:
            raise self.wrong(key, "is missing")
        return str(value)

    def choice(self, key: str, choices: Sequence[C]) -> C:
        """One of the choices; the first is the default."""
        value = self._take(key, str, choices[0])
        if value not in choices:
            raise self.wrong(key, f"is one of {', '.join(filter(None, choices))}, not {value!r}")
        return choices[choices.index(value)]

    def choices(self, key: str, choices: Sequence[C]) -> tuple[C, ...]:
        """Some of the choices, in their order; all of them by default."""
        values = self._take(key, list, list(choices))
        if not values or any(value not in choices for value in values):
            raise self.wrong(key, f"is a list of {', '.join(choices)}, not {values!r}")
        return tuple(choice for choice in choices if choice in values)

    def flag(self, key: str) -> bool:
        """True if the key is set to true; false by default."""
        return bool(self._take(key, bool, False))

    def whole(self, key: str) -> int | None:
        """A whole number, 0 or more."""
        value = self._take(key, int, None)
        return None if value is None else int(self._counted(key, value))

    @overload
    def number(self, key: str, default: float) -> float: ...

    @overload
    def number(self, key: str, default: float | None) -> float | None: ...

    def number(self, key: str, default: float | None) -> float | None:
        """A number, 0 or more."""
        value = self._take(key, (int, float), default)
        return None if value is None else float(self._counted(key, value))

    def numbers(self) -> dict[str, int | float]:
        """All keys that are left, each a number."""
        return {key: self._take(key, (int, float), None) for key in tuple(self._left)}

    def rest(self) -> dict[str, Any]:
        """All keys that are left, unchecked."""
        rest, self._left = self._left, {}
        return rest

    def table(self, key: str, *, needed: bool = False) -> Table:
        """A table inside this one; an empty one where there is none."""
        value = self._take(key, dict, None if needed else {})
        if value is None:
            raise self.wrong(key, "is missing")
        return Table(self.file, self._path(key), value)

    def tables(self, key: str) -> tuple[Table, ...]:
        """A list of tables; none by default."""
        values = self._take(key, list, [])
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, "is a list of tables")
        return tuple(Table(self.file, f"{self._path(key)}[{at}]", value) for at, value in enumerate(values))

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self._left.pop(key, default)
        # A bool is an int to Python, and `attempts = true` is a slip.
        slip = isinstance(value, bool) and kind is not bool
        if value is not default and (slip or not isinstance(value, kind)):
            raise self.wrong(key, f"has the wrong type: {value!r}")
        return value

    def _counted(self, key: str, value: float) -> float:
        if not 0 <= value < float("inf"):
            raise self.wrong(key, f"is 0 or more, not {value}")
        return value
