"""Answer: one HTTP-level fault, as data. A scenario's table maps on it: `Answer.from_table(table)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

ORIGINS = ("hub", "cdn", "both")
_ON_FILES = ("cut", "flip", "pause", "long", "bad_range")
_ON_JSON_TOO = ("reset", "drip", "gzip")
_ON_BODY = (*_ON_FILES, *_ON_JSON_TOO)
_ON_REQUEST = ("status", "portal", "expired", "ignore_range", "delay", "close_before_answer", "slow_headers")
KINDS = (*_ON_REQUEST, *_ON_BODY)
DECLARED = ("all", "file", "nothing")
_POSITIVE = ("times", "slow_headers", "drip", "long")
_WHOLE = (*_POSITIVE, "skip", "status", "portal", "cut", "reset", "flip", "after", "retry_after", "retry_date")
_SECONDS = ("pause", "delay")
_FLAGS = ("expired", "ignore_range", "ranged", "close_before_answer", "gzip")
_WITH_STATUS = ("headers", "body", "retry_after", "retry_date")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A fault in place of or within the correct answer, for the next `times` matching requests (None: all of them).

    Which requests: those that reach `on` ("hub", "cdn" or "both"), whose `path?query` (decoded, without signature)
    the regular expression `match` finds something in, and whose method is `method` if one is given. The CDN's query
    names the file, so `match="model.safetensors"` works on both origins. Requests without a Range header don't count
    where `ranged` is set. The first `skip` of those that count pass untouched.

    What to do, exactly one of:

    status               answer this status at once, with `headers`, `body` and either `retry_after` (seconds, sent as
                         they are) or `retry_date` (seconds from now, sent as an HTTP-date)
    portal               a captive portal: 200 is an HTML page, 302 a redirect to one
    expired              the CDN takes the signed URL for expired (403)
    ignore_range         a request with a Range header gets 200 and the whole file
    delay                wait this many seconds, then answer honestly
    close_before_answer  end the connection (FIN) without a byte
    slow_headers         send status line and headers at this many bytes a second; the connection ends with the answer
    cut                  end the connection (FIN) after this many bytes of a longer body, under the full Content-Length
    reset                the same with RST, once the client's machine has these bytes
    flip                 change the byte at this offset of the file, on its way
    pause                wait this many seconds in the body, once `after` bytes of it are sent
    drip                 send the body at this many bytes a second, once `after` bytes of it are sent
    long                 send this many bytes more than the file or range has, zeros at its end. Content-Length counts
                         them too (`declared="all"`), does not ("file"), or is left out ("nothing")
    bad_range            a 206 has this Content-Range ("": none), its bytes are those asked for
    gzip                 send the body gzip'ed and say so, whatever the request accepts

    Those from `cut` on act on bodies (200 and 206, GET) and count only those: `reset`, `drip` and `gzip` on all, the
    others on files. `ignore_range` and `bad_range` count only requests with a Range header.
    """

    on: str = "both"
    match: str = ""
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    ranged: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""
    retry_after: int | None = None
    retry_date: int | None = None
    portal: int | None = None
    expired: bool = False
    ignore_range: bool = False
    delay: float | None = None
    close_before_answer: bool = False
    slow_headers: int | None = None
    cut: int | None = None
    reset: int | None = None
    flip: int | None = None
    pause: float | None = None
    drip: int | None = None
    after: int = 0
    long: int | None = None
    declared: str = "all"
    bad_range: str | None = None
    gzip: bool = False

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
        """True if it acts on the bytes of a body, not on the request."""
        return self.kind in _ON_BODY

    @property
    def acts_on_json(self) -> bool:
        """True if it acts on any body, not only on a file's."""
        return self.kind in _ON_JSON_TOO

    @property
    def needs_range(self) -> bool:
        """True if requests without a Range header pass untouched."""
        return self.ranged or self.ignore_range or self.bad_range is not None

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
        _check(self.after == 0 or (self.pause, self.drip) != (None, None), "after only goes with pause and drip")
        _check(self.declared in DECLARED, f"declared is one of {', '.join(DECLARED)}, not {self.declared!r}")
        _check(self.declared == "all" or self.long is not None, "declared only goes with long")
        _check(None in (self.retry_after, self.retry_date), "give retry_after or retry_date, not both")
        _check(not (self.expired and self.on == "hub"), "only the CDN has URLs that expire")

    def _check_types(self) -> None:
        for name in _WHOLE:
            value = getattr(self, name)
            _check(value is None or type(value) is int, f"{name} is a whole number, not {value!r}")
        for name in _SECONDS:
            value = getattr(self, name)
            _check(value is None or type(value) in (int, float), f"{name} is in seconds, not {value!r}")
        for name in _FLAGS:
            _check(type(getattr(self, name)) is bool, f"{name} is true or false, not {getattr(self, name)!r}")

    def _check_numbers(self) -> None:
        _check(self.status is None or 200 <= self.status <= 599, f"status is between 200 and 599, not {self.status}")
        _check(self.portal in (None, 200, 302), f"portal is 200 or 302, not {self.portal}")
        for name in _POSITIVE:
            value = getattr(self, name)
            _check(value is None or value > 0, f"{name} is positive, not {value}")
        for name in {*_WHOLE, *_SECONDS} - {*_POSITIVE, "retry_date"}:
            value = getattr(self, name)
            _check(value is None or value >= 0, f"{name} is not negative: {value}")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
