"""Answer: one HTTP-level fault, as data. A scenario's table maps on it: `Answer.from_table(table)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

ORIGINS = ("hub", "cdn", "both")
KINDS = ("status", "portal", "expired", "ignore_range", "cut", "flip", "pause", "delay")
_WITH_STATUS = ("headers", "body", "retry_after", "retry_date")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to do, instead of or to the honest answer, with the next `times` requests that match (None: all of them).

    Which requests: those that reach `on` ("hub", "cdn" or "both"), whose `path?query` (decoded, without signature)
    the regular expression `match` finds something in, and whose method is `method` if one is given. The CDN's query
    names the file, so `match="model.safetensors"` works on both origins. The first `skip` of them pass untouched.

    What to do, exactly one of:

    status        answer this status at once, with `headers`, `body` and either `retry_after` (seconds, sent as they
                  are) or `retry_date` (seconds from now, sent as an HTTP-date)
    portal        a captive portal: 200 is an HTML page, 302 a redirect to one
    expired       the CDN takes the signed URL for expired (403)
    ignore_range  a request with a Range header gets 200 and the whole file
    cut           end the connection after this many bytes of a longer body, under the full Content-Length
    flip          change the byte at this offset of the file, on its way
    pause         wait this many seconds in the body, once `after` bytes of it are sent
    delay         wait this many seconds, then answer honestly

    `cut`, `flip` and `pause` act on file bodies (200 and 206) only and count only those; `ignore_range` counts only
    requests with a Range header.
    """

    on: str = "both"
    match: str = ""
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""
    retry_after: int | None = None
    retry_date: int | None = None
    portal: int | None = None
    expired: bool = False
    ignore_range: bool = False
    cut: int | None = None
    flip: int | None = None
    pause: float | None = None
    after: int = 0
    delay: float | None = None

    def __post_init__(self) -> None:
        _check(self.on in ORIGINS, f"on is one of {', '.join(ORIGINS)}, not {self.on!r}")
        self._check_pattern()
        self._check_kind()
        self._check_types()
        self._check_numbers()

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Answer:
        """The same as `Answer(**table)`, but an unknown word is a ValueError too."""
        unknown = sorted(set(table) - {one.name for one in fields(cls)})
        _check(not unknown, f"an answer has no {', '.join(unknown)}")
        return cls(**table)

    @property
    def kind(self) -> str:
        """The one thing that this answer does."""
        return self._kinds()[0]

    @property
    def acts_on_body(self) -> bool:
        """Is it about the bytes of a file, not about the request?"""
        return self.kind in ("cut", "flip", "pause")

    def _kinds(self) -> list[str]:
        values = {kind: getattr(self, kind) for kind in KINDS}
        return [kind for kind, value in values.items() if value is not None and value is not False]

    def _check_pattern(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"match is no regular expression: {self.match!r}: {error}") from error

    def _check_kind(self) -> None:
        kinds = self._kinds()
        _check(len(kinds) == 1, f"give exactly one of {', '.join(KINDS)}; given: {', '.join(kinds) or 'none'}")
        extra = [name for name in _WITH_STATUS if getattr(self, name) not in (None, b"", {})]
        _check(not extra or self.status is not None, f"{', '.join(extra)} only go with status")
        _check(self.after == 0 or self.pause is not None, "after only goes with pause")
        _check(None in (self.retry_after, self.retry_date), "give retry_after or retry_date, not both")
        _check(not (self.expired and self.on == "hub"), "only the CDN has URLs that expire")

    def _check_types(self) -> None:
        for name in ("times", "skip", "status", "portal", "cut", "flip", "after", "retry_after", "retry_date"):
            value = getattr(self, name)
            _check(value is None or type(value) is int, f"{name} is a whole number, not {value!r}")
        for name in ("pause", "delay"):
            value = getattr(self, name)
            _check(value is None or type(value) in (int, float), f"{name} is in seconds, not {value!r}")

    def _check_numbers(self) -> None:
        _check(self.times is None or self.times > 0, f"times is positive or None, not {self.times}")
        _check(self.status is None or 200 <= self.status <= 599, f"status is between 200 and 599, not {self.status}")
        _check(self.portal in (None, 200, 302), f"portal is 200 or 302, not {self.portal}")
        for name in ("skip", "cut", "flip", "pause", "after", "delay", "retry_after"):
            value = getattr(self, name)
            _check(value is None or value >= 0, f"{name} is not negative: {value}")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
