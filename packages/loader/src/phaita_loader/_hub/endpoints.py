"""Several servers of the same files: one at a time, and the next when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from phaita_loader._http.url import checked_endpoint
from phaita_loader.errors import AccessDenied, ModelDownloadError, NotFound, Unreachable
from phaita_loader.retry import Transient

__all__ = ["Endpoints"]

T = TypeVar("T")


class Endpoints:
    """An ordered list of endpoints, of which one is in use; the last is followed by the first.

    All threads share the place in it, without a lock: a lost move costs one request that fails once more.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self.urls = tuple(dict.fromkeys(checked_endpoint(url) for url in urls))
        self._at = 0
        if not self.urls:
            raise ValueError("an empty list of endpoints was given")

    def first_that(self, serves: Callable[[str], T], judge: str) -> tuple[T, str]:
        """The first result and whose it is; each endpoint is asked once, and one that fails is left for the next.

        A refusal by `judge`, the endpoint that knows what there is, is the answer; any other's is its own failing.
        """
        failures: list[Transient | ModelDownloadError] = []
        for url in self._round():
            try:
                return serves(url), url
            except (Transient, ModelDownloadError) as error:
                if url == judge and isinstance(error, AccessDenied | NotFound):
                    raise
                failures.append(error)
                self.leave(url)
        raise _worth_telling(failures)

    def _round(self) -> Iterator[str]:
        at = self._at
        yield from (*self.urls[at:], *self.urls[:at])

    def leave(self, url: str) -> None:
        """Go on with the next one."""
        at = self.urls.index(url)
        if self._at == at:  # else another thread left it already
            self._at = (at + 1) % len(self.urls)


def _worth_telling(failures: list[Transient | ModelDownloadError]) -> Exception:
    """What time heals, the shortest wait first; else what the first endpoint said."""
    passing = [failure for failure in failures if isinstance(failure, Transient)]
    if passing:
        return min(passing, key=lambda failure: failure.retry_after or 0.0)
    return failures[0] if failures else Unreachable("no endpoint was given")
