"""The fresh process of one call by one client. `python -P contender.py SPEC`: the call as JSON (contender, repo, ...).

It prints `ready` when all is imported, waits for a line, makes the call, and prints what the call took as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

CallSpec = dict[str, str]
Call = Callable[[], dict[str, Any]]
"""The result of the call: `path` is the file, or the folder of files, that it brought."""


def phaita_loader(spec: CallSpec) -> Call:
    """This loader: digests verified."""
    from phaita_loader import Hub, ModelRequest, fetch
    from phaita_loader.errors import LoaderError
    from phaita_loader.retry import SYSTEM

    slept: list[float] = []
    request = ModelRequest(spec["repo"], spec.get("revision", "main"), allow_patterns=(spec.get("pattern", "*"),))

    def call() -> dict[str, Any]:
        try:
            snapshot = fetch(request, hub=Hub(token=spec.get("token")), clock=replace(SYSTEM, sleep=slept.append))
        except LoaderError as error:
            return {"error": type(error).__name__, "slept": len(slept)}
        return {"path": str(snapshot.path), "slept": len(slept)}

    return call


def hf_hub_download(spec: CallSpec) -> Call:
    """One file by huggingface_hub, which verifies nothing."""
    from huggingface_hub import hf_hub_download

    return lambda: {"path": hf_hub_download(spec["repo"], spec["file"])}


def snapshot_download(spec: CallSpec) -> Call:
    """All files by huggingface_hub, which verifies nothing."""
    from huggingface_hub import snapshot_download

    return lambda: {"path": snapshot_download(spec["repo"])}


def bare_import(spec: CallSpec) -> Call:
    """Nothing but the library, for its memory."""
    import huggingface_hub

    return lambda: {"version": huggingface_hub.__version__}


def curl_then_openssl(spec: CallSpec) -> Call:
    """curl, then OpenSSL's digest of the file."""
    target = Path(spec["folder"]) / spec["file"]

    def call() -> dict[str, Any]:
        subprocess.run(["curl", "-sSf", "-o", target, spec["url"]], check=True)
        said = subprocess.run(["openssl", "dgst", "-sha256", target], check=True, capture_output=True).stdout
        assert spec["digest"].encode() in said
        return {"path": str(target)}

    return call


def aria2c(spec: CallSpec) -> Call:
    """aria2 over four connections, with its own check of the digest."""
    options = ["-q", "--no-conf", "-x4", f"--checksum=sha-256={spec['digest']}", f"--out={spec['file']}"]

    def call() -> dict[str, Any]:
        subprocess.run(["aria2c", *options, f"--dir={spec['folder']}", spec["url"]], check=True)
        return {"path": str(Path(spec["folder"]) / spec["file"])}

    return call


def curl_to_null(spec: CallSpec) -> Call:
    """The origin's own speed: nothing is written, nothing is digested."""

    def call() -> dict[str, Any]:
        subprocess.run(["curl", "-sSf", "-o", "/dev/null", spec["url"]], check=True)
        return {"path": spec["source"]}

    return call


def digest_alone(spec: CallSpec) -> Call:
    """The limit for whoever verifies: hashlib over a file in the page cache."""
    import hashlib

    def call() -> dict[str, Any]:
        running, block = hashlib.sha256(), memoryview(bytearray(1 << 18))
        with Path(spec["source"]).open("rb", buffering=0) as file:
            while count := file.readinto(block):
                running.update(block[:count])
        assert running.hexdigest() == spec["digest"]
        return {"path": spec["source"]}

    return call


CONTENDERS: dict[str, Callable[[CallSpec], Call]] = {
    made.__name__: made
    for made in (
        phaita_loader,
        hf_hub_download,
        snapshot_download,
        bare_import,
        curl_then_openssl,
        aria2c,
        curl_to_null,
        digest_alone,
    )
}


def cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_bytes() -> int:
    """The most memory that this process held, pages of mapped files included.

    Not ru_maxrss: that begins with what the parent held.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def main(spec: CallSpec) -> None:
    """Import, wait for the word, call, tell."""
    call = CONTENDERS[spec["contender"]](spec)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    cpu, begin = cpu_seconds(), time.perf_counter()
    found = call()
    seconds, cpu = time.perf_counter() - begin, cpu_seconds() - cpu
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_bytes(), "found": found}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
