from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from phaita_loader import errors
from phaita_loader.errors import Attempt, LoaderError, ModelDownloadError, NotCached, RateLimited
from phaita_loader.request import ModelRequest

CLASSES = sorted(
    (getattr(errors, name) for name in errors.__all__ if name != "Attempt"), key=lambda kind: kind.__name__
)
REQUEST = ModelRequest("org/name", "v1", kind="tokenizer")
ATTEMPTS = (Attempt("transfer", 1, "reset", 2.5, received=7, wait=10.0), Attempt("transfer", 2, "cut", 1.0))


def made(kind: type[LoaderError]) -> LoaderError:
    extra: Any = {NotCached: {"missing": ("config.json",)}, RateLimited: {"retry_after": 60.0}}.get(kind, {})
    return kind("the cause", hint="do this\nor that", request=REQUEST, attempts=ATTEMPTS, elapsed=13.6, **extra)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_error_crosses_processes_whole(
    kind: type[LoaderError], copied: Callable[[LoaderError], LoaderError]
) -> None:
    error = made(kind)
    twin = copied(error)
    assert type(twin) is kind
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_message_names_repo_cause_and_next_steps(kind: type[LoaderError]) -> None:
    first, *steps = str(made(kind)).splitlines()
    assert first.startswith("org/name@v1: the cause")
    assert "(2 attempts in 13.6 s)" in first
    assert steps == ["  - do this", "  - or that"]


def test_a_bare_error_is_its_cause() -> None:
    assert str(LoaderError("the cause")) == "the cause"


def test_filled_keeps_what_is_there() -> None:
    error = LoaderError("the cause", hint="mine").filled(hint="yours", elapsed=3.0, request=REQUEST)
    assert (error.hint, error.elapsed, error.request) == ("mine", 3.0, REQUEST)


def test_the_tree() -> None:
    assert issubclass(ModelDownloadError, LoaderError)
    others = {errors.LoaderError, errors.ModelDownloadError, errors.InitialisationError}
    assert all(issubclass(kind, ModelDownloadError) for kind in set(CLASSES) - others)
    assert not issubclass(errors.InitialisationError, ModelDownloadError)
    drawn = errors.__doc__ or ""
    assert all(kind.__name__ in drawn for kind in CLASSES)
