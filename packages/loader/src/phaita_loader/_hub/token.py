"""The token to send: given, found by huggingface_hub, or none."""

from __future__ import annotations

import re
from collections.abc import Callable

from phaita_loader._bounded import bounded
from phaita_loader._hints import LOGIN
from phaita_loader.errors import AccessDenied
from phaita_loader.retry import Transient

__all__ = ["checked_token", "find_in_time", "resolve_token"]


def resolve_token(given: str | bool | None, implicit: bool, find: Callable[[], str | None]) -> str | None:
    """Return the token to send, or None.

    given: a token, False for none, True to require one, None to take the one that `find` returns.
    implicit: False where None means no token (HF_HUB_DISABLE_IMPLICIT_TOKEN).

    Raises AccessDenied for a missing or invalid token, Transient where `find` fails.
    """
    if isinstance(given, str):
        return given or None
    if given is False or (given is None and not implicit):
        return None
    try:
        found = checked_token(find())
    except ValueError as error:
        # Its message says all, and names no token.
        raise AccessDenied(f"{error}", hint=LOGIN) from None
    except Exception as error:
        raise Transient(f"the token could not be read ({type(error).__name__})") from error
    if given and not found:
        raise AccessDenied("no token was found, and token=True asks for one", hint=LOGIN)
    return found or None


def checked_token(token: str | None) -> str | None:
    """Return the token as a header can carry it: one read from a file may end with a newline. Raises ValueError."""
    if token is None:
        return None
    # Anything else would be refused by the HTTP client with the token in its message.
    if re.search(r"[^!-~]", token.strip()):
        raise ValueError("the token has invalid characters")
    return token.strip()


def find_in_time(find: Callable[[], dict[str, str]], seconds: float) -> dict[str, str]:
    """Return the headers that `find` makes of a token, which may have to ask a server. Raises Transient."""
    try:
        return bounded(find, seconds)
    except TimeoutError as error:
        raise Transient(f"no token was found within {seconds:g} s") from error
