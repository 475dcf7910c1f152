"""What runs in the fresh process: one client, one call. `python -P contender.py JOB` (JSON: contender, repo, url, ...).

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

Job = dict[str, str]
Call = Callable[[], dict[str, Any]]
"""What the call found: `path` is the file, or the folder of files, that it brought."""


def phaita_loader(job: Job) -> Call:
    """This loader: digests verified."""
    from phaita_loader import Hub, ModelRequest, fetch
    from phaita_loader.errors import LoaderError
    from phaita_loader.retry import SYSTEM

    slept: list[float] = []
    request = ModelRequest(job["repo"], job.get("revision", "main"), allow_patterns=(job.get("pattern", "*"),))

    def call() -> dict[str, Any]:
        try:
            snapshot = fetch(request, hub=Hub(token=job.get("token")), clock=replace(SYSTEM, sleep=slept.append))
        except LoaderError as error:
            return {"error": type(error).__name__, "slept": len(slept)}
        return {"path": str(snapshot.path), "slept": len(slept)}

    return call


def hf_hub_download(job: Job) -> Call:
    """One file by huggingface_hub, which verifies nothing."""
    from huggingface_hub import hf_hub_download

    return lambda: {"path": hf_hub_download(job["repo"], job["file"])}


def snapshot_download(job: Job) -> Call:
    """All files by huggingface_hub, which verifies nothing."""
    from huggingface_hub import snapshot_download

    return lambda: {"path": snapshot_download(job["repo"])}


def bare_import(job: Job) -> Call:
    """Nothing but the library, for its memory."""
    import huggingface_hub

    return lambda: {"version": huggingface_hub.__version__}


def curl_then_openssl(job: Job) -> Call:
    """curl, then OpenSSL's digest of the file."""
    target = Path(job["folder"]) / job["file"]

    def call() -> dict[str, Any]:
        subprocess.run(["curl", "-sSf", "-o", target, job["url"]], check=True)
        said = subprocess.run(["openssl", "dgst", "-sha256", target], check=True, capture_output=True).stdout
        assert job["digest"].encode() in said
        return {"path": str(target)}

    return call


def aria2c(job: Job) -> Call:
    """aria2 over four connections, with its own check of the digest."""
    options = ["-q", "--no-conf", "-x4", f"--checksum=sha-256={job['digest']}", f"--out={job['file']}"]

    def call() -> dict[str, Any]:
        subprocess.run(["aria2c", *options, f"--dir={job['folder']}", job["url"]], check=True)
        return {"path": str(Path(job["folder"]) / job["file"])}

    return call


def curl_to_null(job: Job) -> Call:
    """The origin's own speed: nothing is written, nothing is digested."""

    def call() -> dict[str, Any]:
        subprocess.run(["curl", "-sSf", "-o", "/dev/null", job["url"]], check=True)
        return {"path": job["source"]}

    return call


def digest_alone(job: Job) -> Call:
    """The limit for whoever verifies: hashlib over a file in the page cache."""
    import hashlib

    def call() -> dict[str, Any]:
        running, block = hashlib.sha256(), memoryview(bytearray(1 << 18))
        with Path(job["source"]).open("rb", buffering=0) as file:
            while count := file.readinto(block):
                running.update(block[:count])
        assert running.hexdigest() == job["digest"]
        return {"path": job["source"]}

    return call


CONTENDERS: dict[str, Callable[[Job], Call]] = {
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


def main(job: Job) -> None:
    """Import, wait for the word, call, tell."""
    call = CONTENDERS[job["contender"]](job)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    cpu, begin = cpu_seconds(), time.perf_counter()
    found = call()
    seconds, cpu = time.perf_counter() - begin, cpu_seconds() - cpu
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_bytes(), "found": found}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
