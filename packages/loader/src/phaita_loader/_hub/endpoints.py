"""Several servers of the same files, used one at a time: when one fails, the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from phaita_loader._http.url import checked_endpoint
from phaita_loader.errors import AccessDenied, ModelDownloadError, NotFound, Unreachable
from phaita_loader.retry import Transient

__all__ = ["Endpoints"]

T = TypeVar("T")


class Endpoints:
    """An ordered list of endpoints, one of them in use; the first follows the last.

    All threads share the position in it without a lock: a lost update costs one request that fails once more.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self.urls = tuple(dict.fromkeys(checked_endpoint(url) for url in urls))
        self._position = 0
        if not self.urls:
            raise ValueError("an empty list of endpoints was given")

    def first_that(self, serves: Callable[[str], T], judge: str) -> tuple[T, str]:
        """Return the first result and its endpoint; each endpoint is asked once, and left for the next if it fails.

        `judge` is the endpoint that listed the files: its refusal is final, any other's is a failure of that endpoint.
        """
        failures: list[Transient | ModelDownloadError] = []
        for url in self._round():
            try:
                return serves(url), url
            except (Transient, ModelDownloadError) as error:
                # A mirror may lack a file or the right to serve it; the endpoint that listed it may not.
                if url == judge and isinstance(error, AccessDenied | NotFound):
                    raise
                failures.append(error)
                self.leave(url)
        raise _most_useful(failures)

    def _round(self) -> Iterator[str]:
        position = self._position
        yield from (*self.urls[position:], *self.urls[:position])

    def leave(self, url: str) -> None:
        """Use the next endpoint from now on."""
        position = self.urls.index(url)
        if self._position == position:  # else another thread left it already
            self._position = (position + 1) % len(self.urls)


def _most_useful(failures: list[Transient | ModelDownloadError]) -> Exception:
    """Return the transient failure with the shortest wait; else the first endpoint's."""
    # What time heals is worth another attempt, so it outweighs an endpoint's permanent failure.
    transient = [failure for failure in failures if isinstance(failure, Transient)]
    if transient:
        return min(transient, key=lambda failure: failure.retry_after or 0.0)
    return failures[0] if failures else Unreachable("no endpoint was given")
