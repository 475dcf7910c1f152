"""For every room: an environment without traces of the machine's own, and the libraries that not all need."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from huggingface_hub import constants

LOUD = ("HF_", "HUGGING", "SSL_CERT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith(LOUD):
            monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # read when the library was imported
    # For the processes that tests start; this one has read its own long ago.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """Imported when a test asks for it: not every Python under test has it."""
    return import_module("torch")


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """As `torch`."""
    return import_module("transformers")
