"""Files into typed, frozen values; what does not fit is an error that names the file and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from phaita.errors import InvalidFile

__all__ = ["Strict", "checked", "read_text", "read_toml"]

T = TypeVar("T")

# Of a model and of a dataclass.
_NO_SUCH_KEY = {"extra_forbidden", "unexpected_keyword_argument"}


class Strict:
    """Base of a dataclass whose table in a file has its fields and no other keys."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def read_toml(path: Path, kind: type[T], *, named: str | None = None) -> T:
    """A TOML file as a value of that type; each table's own name becomes its field `named`. Raises InvalidFile."""
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(f"{path}: not TOML: {error}") from error
    if named is not None:
        content = {key: {**one, named: key} if isinstance(one, dict) else one for key, one in content.items()}
    return checked(path, content, kind)


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises InvalidFile."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidFile(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{path}: not UTF-8: {error}") from error


def checked(path: Path, content: Any, kind: type[T]) -> T:
    """The content of that file as a value of that type. Raises InvalidFile, a line a problem."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise InvalidFile(f"{path}:{''.join(map(_problem, error.errors(include_url=False)))}") from error


def _problem(one: ErrorDetails) -> str:
    # A code such as J45.9 holds a dot, so it is quoted as TOML quotes it.
    parts = (f"[{key}]" if isinstance(key, int) else f'."{key}"' if "." in key else f".{key}" for key in one["loc"])
    place = "".join(parts).removeprefix(".")
    reason = "there is no such key" if one["type"] in _NO_SUCH_KEY else one["msg"].removeprefix("Value error, ")
    return f"\n  {place}: {reason}" if place else f"\n  {reason}"
