"""The errors of this package; those of the loader are phaita_loader's."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["InvalidFile", "UnknownCode", "Untrained"]


class InvalidFile(ValueError):
    """A data or configuration file can't be read or can't be meant; the message names the file and the key."""


class UnknownCode(KeyError, ValueError):
    """No condition has this code; the message lists those there are."""

    def __init__(self, code: object, known: Iterable[str]) -> None:
        self.code = code
        self.known = tuple(known)
        super().__init__(code, self.known)

    def __str__(self) -> str:
        return f"no condition has the code {self.code!r}; there are {', '.join(self.known)}"


class Untrained(RuntimeError):
    """A diagnosis was asked of heads that have learned nothing."""
