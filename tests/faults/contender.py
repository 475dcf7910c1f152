"""What runs in the fresh process: one unmodified client, one call, one result file.

`python -P contender.py JOB.json`: the job names the contender, the repo, the policy, and the files to write. A file
`ready` marks the moment before the call, after the imports.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[], "int | None"]


def phaita_loader(repo: str, policy: dict[str, Any]) -> Call:
    """This repo's loader; the call returns the number of failed attempts that count."""
    import transformers.modeling_utils  # noqa: F401 (most of the imports, torch among them, before the clock starts)

    from phaita_loader import Backoff, ModelRequest, Policy, load

    patience = Policy(**{**policy, "backoff": Backoff(**policy["backoff"])})

    def call() -> int:
        loaded = load(ModelRequest(repo), policy=patience)
        assert loaded.model is not None
        return counted(loaded.snapshot.attempts)

    return call


def huggingface_hub(repo: str, _policy: dict[str, Any]) -> Call:
    """`snapshot_download`: the files, without a model."""
    from huggingface_hub import snapshot_download

    def call() -> None:
        snapshot_download(repo)

    return call


def transformers(repo: str, _policy: dict[str, Any]) -> Call:
    """`AutoModel.from_pretrained`: the files that it wants and the model."""
    import transformers.modeling_utils  # noqa: F401 (as above)
    from transformers import AutoModel

    def call() -> None:
        AutoModel.from_pretrained(repo)

    return call


CONTENDERS: dict[str, Callable[[str, dict[str, Any]], Call]] = {
    "phaita_loader": phaita_loader,
    "huggingface_hub": huggingface_hub,
    "transformers": transformers,
}


def counted(attempts: Any) -> int:
    """How many of the loader's failed attempts count against its policy."""
    return sum(attempt.counted for attempt in attempts)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Make the call and say what became of it."""
    call = CONTENDERS[job["contender"]](job["repo"], job["policy"])
    Path(job["ready"]).touch()
    begin = time.monotonic()
    try:
        attempts, outcome, message = call(), "loaded", ""
    except BaseException as error:
        attempts = counted(error.attempts) if hasattr(error, "attempts") else None
        outcome, message = type(error).__name__, first_line(error)
    return {"outcome": outcome, "message": message, "attempts": attempts, "seconds": time.monotonic() - begin}


def first_line(error: BaseException) -> str:
    """The first line of the message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def end_with_parent() -> None:
    """Leave when standard input ends: the harness is gone, and nobody would end this process at its cap."""
    while os.read(0, 1):
        pass
    os._exit(3)


def main() -> None:
    """Run the job; the result appears at once and whole."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = Path(job["result"])
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(run(job)), encoding="utf-8")
    partial.replace(result)


if __name__ == "__main__":
    main()
