"""`python -m tests.train`: phaita.training with real weights of MiniLM, from a local Hub; options are handed on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tests.hub import LocalHub
from tests.hub.recipes import MINILM
from tests.hub.replicas import replica


def main(arguments: Sequence[str]) -> int:
    """Run it in a process whose only Hub is the local one, with a cache of its own; the exit status."""
    with LocalHub([replica(MINILM)]) as hub, tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": home, "TRANSFORMERS_VERBOSITY": "error"}
        command = [sys.executable, "-m", "phaita.training", "--encoder", MINILM, *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
