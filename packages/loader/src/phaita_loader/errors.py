"""The errors a caller can meet, and nothing else.

::

    LoaderError
    ├── ModelDownloadError      the bytes could not be had; what most callers catch
    │   ├── NotFound            no such repo, revision or file
    │   ├── AccessDenied        gated, private, or a token that is not accepted
    │   ├── NotCached           offline, and something is missing in the cache
    │   ├── Unreachable         the Hub did not answer, or not to the end, however often it was asked
    │   ├── DeadlineExceeded    the caller's deadline came first
    │   ├── RateLimited         the Hub says to come back later than the caller can wait
    │   ├── Corrupt             the bytes do not match the digest, however often they were fetched
    │   └── StorageError        the cache can't be written: full, read-only, no permission
    └── InitialisationError     the bytes are right, the model can't be built from them

Every error pickles, so that it crosses process pools with all its fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from phaita_loader.request import ModelRequest

__all__ = [
    "AccessDenied",
    "Attempt",
    "Corrupt",
    "DeadlineExceeded",
    "InitialisationError",
    "LoaderError",
    "ModelDownloadError",
    "NotCached",
    "NotFound",
    "RateLimited",
    "StorageError",
    "Unreachable",
]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed try of one step.

    elapsed, wait: seconds.
    received: bytes that this try added to the partial files.
    counted: False where that progress earned credit, so that the try does not count against the policy.
    spoiled: True where the bytes were wrong, which no progress excuses.
    """

    step: str
    number: int
    cause: str
    elapsed: float
    received: int = 0
    counted: bool = True
    wait: float = 0.0
    spoiled: bool = False


class LoaderError(Exception):
    """The base of all errors of this package.

    Fields: `cause` (one sentence), `hint` (steps a person can take, a line each), `request`, `attempts`
    (the failed ones, oldest first) and `elapsed` (seconds since the call).
    """

    def __init__(
        self,
        cause: str,
        *,
        hint: str = "",
        request: ModelRequest | None = None,
        attempts: tuple[Attempt, ...] = (),
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint
        self.request = request
        self.attempts = attempts
        self.elapsed = elapsed

    def filled(self, **fields: Any) -> Self:
        """Set the given fields where they are still empty; return the error."""
        for name, value in fields.items():
            if not getattr(self, name):
                setattr(self, name, value)
        return self

    def __str__(self) -> str:
        subject = f"{self.request.repo_id}@{self.request.revision}: " if self.request else ""
        many = "1 attempt" if len(self.attempts) == 1 else f"{len(self.attempts)} attempts"
        tries = f" ({many} in {self.elapsed:.1f} s)" if self.attempts else ""
        steps = "".join(f"\n  - {line}" for line in self.hint.splitlines())
        return f"{subject}{self.cause}{tries}{steps}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cause,), self.__dict__


class ModelDownloadError(LoaderError):
    """The model's bytes could not be had."""


class NotFound(ModelDownloadError):
    """The repo, the revision or a file does not exist, or is hidden from this token."""


class AccessDenied(ModelDownloadError):
    """The repo is gated or private, or the token is not accepted."""


class NotCached(ModelDownloadError):
    """Offline, and the cache lacks something; `missing` names the files (empty: the whole snapshot)."""

    def __init__(self, cause: str, *, missing: tuple[str, ...] = (), **fields: Any) -> None:
        super().__init__(cause, **fields)
        self.missing = missing


class Unreachable(ModelDownloadError):
    """The Hub or its CDN did not answer, or broke off, until patience ran out."""


class DeadlineExceeded(ModelDownloadError):
    """The caller's deadline came before the model."""


class RateLimited(ModelDownloadError):
    """The Hub asks for a longer wait than the policy leaves; `retry_after` is that wait in seconds."""

    def __init__(self, cause: str, *, retry_after: float | None = None, **fields: Any) -> None:
        super().__init__(cause, **fields)
        self.retry_after = retry_after


class Corrupt(ModelDownloadError):
    """The bytes do not match what the Hub lists, or the listing is invalid."""


class StorageError(ModelDownloadError):
    """The cache can't take the files: no space, read-only, no permission."""


class InitialisationError(LoaderError):
    """The files are complete and right, but no model can be built from them."""
