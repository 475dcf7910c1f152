"""`python -m tests.hub`: serve the replicas on this machine, to try things by hand."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from .replicas import REPLICAS, replica
from .server import LocalHub


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit status."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        repos = [replica(name, options.size) for name in options.repo or REPLICAS]
    except (OSError, RuntimeError) as error:
        return _fail(f"no replicas: {error}")
    try:
        _serve(LocalHub(repos, ports=(options.port, 0)), stop)
    except OSError as error:
        return _fail(f"port {options.port} on 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}")
    return 0


def _serve(local: LocalHub, stop: threading.Event) -> None:
    with local as hub:
        for repo in hub.repos.values():
            sys.stderr.write(f"serving {repo.repo_id} ({repo.size() / 1e6:.1f} MB)\n")
        sys.stdout.write(f"export HF_ENDPOINT={hub.url}\n")
        sys.stdout.flush()
        stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--size", choices=("tiny", "real"), default="tiny", help="of the replicas (default: tiny)")
    parser.add_argument("--port", type=_port, default=0, help="of the Hub (default: any free one)")
    parser.add_argument("--repo", choices=REPLICAS, action="append", help="serve this one only; may be given again")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not between 0 and 65535")
    return port


def _fail(message: str) -> int:
    sys.stderr.write(f"tests.hub: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
