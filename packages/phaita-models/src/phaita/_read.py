"""Files into typed, frozen values; what does not fit is an error that names the file and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from phaita.errors import InvalidFile

__all__ = ["checked", "read_text", "read_toml"]

T = TypeVar("T")


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
        problems = (f"\n  {_key(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False))
        raise InvalidFile(f"{path}:{''.join(problems)}") from error


def _key(location: tuple[int | str, ...]) -> str:
    # A code such as J45.9 holds a dot, so it is quoted as TOML quotes it.
    parts = (f"[{one}]" if isinstance(one, int) else f'."{one}"' if "." in one else f".{one}" for one in location)
    return "".join(parts).removeprefix(".") or "the whole"
