"""The fresh process of one unmodified client: one call, one result file.

`python -P contender.py FOLDER`: `call.json` in the folder says what to call. A file `ready` marks that the libraries
are imported; the call follows a byte on standard input, and `result.json` tells how it ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[], "int | None"]
_CAPABILITY_VERSION = 0x20080522


def phaita_loader(spec: dict[str, Any]) -> Call:
    """This repo's loader; the call returns the number of failed attempts that count."""
    from phaita_loader import Backoff, ModelRequest, Policy, fetch, load

    policy = spec["policy"]
    patience = Policy(**{**policy, "backoff": Backoff(**policy["backoff"])})
    request = ModelRequest(spec["repo"], spec["revision"])
    if spec["files_only"]:
        return lambda: counted(fetch(request, policy=patience).attempts)
    import transformers.modeling_utils  # noqa: F401 (most of the imports, torch among them, before the clock starts)

    def call() -> int:
        loaded = load(request, policy=patience)
        assert loaded.model is not None
        return counted(loaded.snapshot.attempts)

    return call


def huggingface_hub(spec: dict[str, Any]) -> Call:
    """`snapshot_download`: the files, without a model."""
    from huggingface_hub import snapshot_download

    def call() -> None:
        snapshot_download(spec["repo"], revision=spec["revision"])

    return call


def transformers(spec: dict[str, Any]) -> Call:
    """`AutoModel.from_pretrained`: the files that it wants and the model."""
    import transformers.modeling_utils  # noqa: F401 (as above)
    from transformers import AutoModel

    def call() -> None:
        AutoModel.from_pretrained(spec["repo"], revision=spec["revision"])

    return call


CONTENDERS: dict[str, Callable[[dict[str, Any]], Call]] = {
    "phaita_loader": phaita_loader,
    "huggingface_hub": huggingface_hub,
    "transformers": transformers,
}


def counted(attempts: Any) -> int:
    """Return the number of the loader's failed attempts that count against its policy."""
    return sum(attempt.counted for attempt in attempts)


def run(call: Call) -> dict[str, Any]:
    """Make the call and say what became of it."""
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


def be_ordinary() -> None:
    """Give up what makes root more than the owner of its files: a read-only folder is read-only to this process."""
    capset = getattr(ctypes.CDLL(None), "capset", None)
    if os.geteuid() == 0 and (capset is None or capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24)) != 0):
        raise SystemExit("run the matrix as an ordinary user: this root can't give up its privileges")


def limit_disk(size: int | None) -> None:
    """No file may grow beyond this many bytes: the next write fails with EFBIG, as one to a full disk with ENOSPC."""
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def leave() -> None:
    """End this process when standard input ends: without the harness nothing would end it at its cap."""
    while os.read(0, 1):
        pass
    os._exit(3)


def main() -> None:
    """Run the spec; the result appears at once and whole."""
    be_ordinary()
    folder = Path(sys.argv[1])
    spec = json.loads((folder / "call.json").read_text(encoding="utf-8"))
    call = CONTENDERS[spec["contender"]](spec)
    (folder / "ready").touch()
    if not os.read(0, 1):
        return
    threading.Thread(target=leave, daemon=True).start()
    limit_disk(spec["disk"])
    partial = folder / "result.partial"
    partial.write_text(json.dumps(run(call)), encoding="utf-8")
    partial.replace(folder / "result.json")


if __name__ == "__main__":
    main()
