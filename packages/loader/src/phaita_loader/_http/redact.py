"""Keeps signed URLs out of other libraries' log lines: whoever has a signed URL has the file."""

from __future__ import annotations

import logging
import re

__all__ = ["redact_logger"]

_SIGNED = re.compile(r"\?\S*(?:signature|x-amz-|key-pair|token)\S*", re.IGNORECASE)


def redact_logger(logger: str) -> None:
    """Take the query off signed URLs in every record of this logger."""
    logging.getLogger(logger).addFilter(_FILTER)  # adding the same filter again does nothing


class _Redact(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_redacted(arg) for arg in record.args)
        if not record.args:
            record.msg = _redacted(record.msg)  # some libraries format the message themselves
        return True


def _redacted(arg: object) -> object:
    """Return the argument, as text without the query if it holds a signed URL; URLs may be a library's own objects."""
    return _SIGNED.sub("?...", str(arg)) if _SIGNED.search(str(arg)) else arg


_FILTER = _Redact()
