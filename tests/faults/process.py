"""A contender's process: a fresh interpreter, an empty HF_HOME, a clean environment, a wall-clock cap."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.scenario import Scenario

SCRIPT = Path(__file__).with_name("contender.py")
_IMPORT_SECONDS = 180.0
_TICK_SECONDS = 0.02
# Without cached bytecode every fresh process would compile torch and transformers again.
_DROPPED = ("HF_", "HUGGING", "TRANSFORMERS_", "PHAITA_", "PYTEST_", "COV_", "PYTHONDONTWRITEBYTECODE")


def run(
    contender: str, scenario: Scenario, endpoint: str, folder: Path, tick: Callable[[float], None]
) -> dict[str, Any]:
    """The contender's result; `tick(seconds since its call)` is called every 20 ms while it runs.

    `folder` becomes the home of its files. A contender that outlives the cap is killed; one that ends without a
    result gets the outcome "crashed" and the last line that it wrote.
    """
    home, ready, result = folder / "hf_home", folder / "ready", folder / "result.json"
    home.mkdir(parents=True)
    job = {"contender": contender, "repo": scenario.repo, "policy": asdict(scenario.policy)}
    job_file = folder / "job.json"
    job_file.write_text(json.dumps({**job, "ready": str(ready), "result": str(result)}), encoding="utf-8")
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), str(job_file)],
            env=environment(scenario, endpoint, home),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, _IMPORT_SECONDS, lambda _: None, until=ready.exists)
        killed = _wait(process, scenario.cap, tick)
    finally:
        # The whole group: a client may have started processes of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
    return _result(result, folder / "output.txt", scenario.cap if killed else None)


def environment(scenario: Scenario, endpoint: str, home: Path) -> dict[str, str]:
    """The caller's environment without whatever steers a Hub client or a proxy, and the plain Hub settings on top."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_DROPPED)}
    kept = {key: value for key, value in kept.items() if not key.lower().endswith("_proxy")}
    seconds = str(max(1, round(scenario.policy.stall)))
    return kept | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": seconds,
        "HF_HUB_ETAG_TIMEOUT": seconds,
        "OMP_NUM_THREADS": "1",
    }


def _wait(
    process: subprocess.Popen[bytes],
    limit: float,
    tick: Callable[[float], None],
    until: Callable[[], bool] = lambda: False,
) -> bool:
    """Wait for the end of the process or for `until`; True if neither came within `limit` seconds."""
    begin = time.monotonic()
    while process.poll() is None and not until():
        elapsed = time.monotonic() - begin
        if elapsed > limit:
            return True
        tick(elapsed)
        time.sleep(_TICK_SECONDS)
    return False


def _result(result: Path, output: Path, killed_at: float | None) -> dict[str, Any]:
    if result.exists():
        return dict(json.loads(result.read_text(encoding="utf-8")))
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    outcome = "crashed" if killed_at is None else f"hung (killed at {killed_at:g} s)"
    return {"outcome": outcome, "message": said, "attempts": None, "seconds": killed_at or 0.0}
