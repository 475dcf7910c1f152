"""Read files into typed, frozen values. An invalid entry raises an error that names the file and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from phaita.errors import InvalidFile

__all__ = ["Strict", "read_text", "read_toml", "validate"]

T = TypeVar("T")

# pydantic has one name for a model and another for a dataclass.
_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}


class Strict:
    """The base of a dataclass that is read from a file and refuses unknown keys."""

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def read_toml(path: Path, kind: type[T], *, key_field: str | None = None) -> T:
    """Return a TOML file as a value of that type; the field `key_field` gets each table's name. Raises InvalidFile."""
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InvalidFile(f"{path}: not TOML: {error}") from error
    if key_field is not None:
        content = {key: {**one, key_field: key} if isinstance(one, dict) else one for key, one in content.items()}
    return validate(path, content, kind)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file. Raises InvalidFile."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidFile(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{path}: not UTF-8: {error}") from error


def validate(path: Path, content: Any, kind: type[T]) -> T:
    """Validate the content of that file as a value of that type. Raises InvalidFile with one line per problem."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise InvalidFile(f"{path}:{''.join(map(_problem, error.errors(include_url=False)))}") from error


def _problem(one: ErrorDetails) -> str:
    # A code such as J45.9 holds a dot, so it is quoted as TOML quotes it.
    parts = (f"[{key}]" if isinstance(key, int) else f'."{key}"' if "." in key else f".{key}" for key in one["loc"])
    place = "".join(parts).removeprefix(".")
    reason = "unknown key" if one["type"] in _UNKNOWN_KEY else one["msg"].removeprefix("Value error, ")
    return f"\n  {place}: {reason}" if place else f"\n  {reason}"
