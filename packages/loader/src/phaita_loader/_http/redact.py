"""Other libraries' log lines, which would show signed URLs: whoever has one has the file."""

from __future__ import annotations

import logging
import re

__all__ = ["guard"]

_SIGNED = re.compile(r"\?\S*(?:signature|x-amz-|key-pair|token)\S*", re.IGNORECASE)


def guard(logger: str) -> None:
    """Take the query off signed URLs in what this logger is told."""
    logging.getLogger(logger).addFilter(_FILTER)  # a second time it does nothing


class _NoSignature(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_unsigned(arg) for arg in record.args)
        if not record.args:
            record.msg = _unsigned(record.msg)  # some are made before they are logged
        return True


def _unsigned(arg: object) -> object:
    """The same, or as text without its query: some libraries log URLs as objects of their own."""
    return _SIGNED.sub("?...", str(arg)) if _SIGNED.search(str(arg)) else arg


_FILTER = _NoSignature()
