"""The environment of a fresh process that is timed: the caller's, without what steers a Hub client or a proxy."""

from __future__ import annotations

import os

_STEERING = ("HF_", "HUGGING", "PYTEST_", "COV_", "PYTHONDONTWRITEBYTECODE")
_QUIET = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def environment(home: str, **more: str) -> dict[str, str]:
    """With this folder as HF_HOME, and further variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_STEERING)}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    return kept | _QUIET | {"HF_HOME": home} | more
