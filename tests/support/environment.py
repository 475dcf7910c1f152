"""Environments of child processes."""

from __future__ import annotations

import os
import sys

# Without cached bytecode every fresh process would compile torch and transformers again.
_DROPPED = ("HF_", "HUGGING", "TRANSFORMERS_", "PHAITA_", "PYTEST_", "COV_", "PYTHONDONTWRITEBYTECODE")
_QUIET = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def clean_environment(home: str, **variables: str) -> dict[str, str]:
    """Return the caller's environment without settings of Hub clients and proxies; `home` becomes HF_HOME."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_DROPPED)}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    return kept | _QUIET | {"HF_HOME": home} | variables


def same_environment(**variables: str) -> dict[str, str]:
    """Return the caller's environment, its import path included, with further variables."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables}
