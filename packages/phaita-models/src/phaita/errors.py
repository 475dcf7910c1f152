"""The errors of this package. Those of downloading are in phaita_loader."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["InvalidFile", "UnknownCode", "Untrained"]


class InvalidFile(ValueError):
    """A data or configuration file that can't be read or is invalid; the message names the file and the key."""


class UnknownCode(KeyError, ValueError):
    """An unknown condition code; the message lists the known ones."""

    def __init__(self, code: object, known: Iterable[str]) -> None:
        self.code = code
        self.known = tuple(known)
        super().__init__(code, self.known)  # both, as pickle calls the class with these

    def __str__(self) -> str:
        # KeyError would show the repr of its arguments.
        return f"unknown condition code {self.code!r}; known codes are {', '.join(self.known)}"


class Untrained(RuntimeError):
    """A diagnosis was requested from a discriminator whose heads are untrained."""
