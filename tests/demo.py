"""`python -m tests.demo`: the loader's example with replicas from a local Hub; options are handed on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.hub import LocalHub
from tests.hub.replicas import REPLICAS, replica

DEMO = Path(__file__).resolve().parents[1] / "packages" / "loader" / "examples" / "demo_model_loader.py"
_NOTE = (
    "A Hub on this machine; its models, MiniLM apart, are small and of random weights: so are their words and scores."
)


def main(arguments: Sequence[str]) -> int:
    """Run it in a process whose only Hub is the local one, with a cache of its own; the exit status."""
    with LocalHub([replica(name) for name in REPLICAS]) as hub, tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": home,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        sys.stdout.write(f"{_NOTE}\n")
        sys.stdout.flush()
        command = [sys.executable, str(DEMO), "--generator", "mistralai/Mistral-7B-Instruct-v0.2", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
