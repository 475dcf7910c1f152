"""The command line: phaita-loader fetch | load | verify | doctor."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from phaita_loader._http.proxies import proxy_for
from phaita_loader.errors import LoaderError
from phaita_loader.fetch import Planned, fetch, plan
from phaita_loader.hub import Hub
from phaita_loader.load import load
from phaita_loader.policy import Backoff, Policy
from phaita_loader.request import KINDS, ModelRequest
from phaita_loader.retry import Retrying
from phaita_loader.snapshot import VERIFY_CHOICES
from phaita_loader.verify import verify

__all__ = ["main"]

_DOCTOR_TIMEOUT = 10.0  # seconds that `doctor` waits for each answer of the Hub


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 2 not understood, 130 interrupted."""
    given = _parser().parse_args(argv)
    try:
        for line in given.run(given):
            print(line, flush=True)  # noqa: T201 - the answer of a command belongs on stdout
    except LoaderError as error:
        return _failed(f"{type(error).__name__}: {error}", 1)
    except ValueError as error:
        return _failed(str(error), 2)
    except BrokenPipeError:  # the reader has closed the pipe: Python would fail once more as it flushes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _failed("interrupted; what arrived is kept, the same command goes on from there", 130)
    return 0


def _fetch(given: argparse.Namespace) -> Iterator[str]:
    if given.dry_run:
        yield from _planned(plan(_request(given), hub=_hub(given), policy=_policy(given), verify=given.verify))
        return
    yield str(fetch(_request(given), hub=_hub(given), policy=_policy(given), verify=given.verify).path)


def _planned(planned: Planned) -> Iterator[str]:
    for file in planned.files:
        yield f"{'cached' if file in planned.cached else 'to come':<8} {file.size / 1e6:12.3f} MB  {file.path}"
    yield f"{planned.to_come / 1e6:.1f} of {planned.total / 1e6:.1f} MB are to come, commit {planned.commit}"


def _load(given: argparse.Namespace) -> Iterator[str]:
    request = replace(_request(given), dtype=given.dtype, device=given.device)
    loaded = load(request, hub=_hub(given), policy=_policy(given), verify=given.verify)
    built = loaded.model if loaded.model is not None else loaded.tokenizer or loaded.config
    yield f"{type(built).__name__} of {request.repo_id} at {loaded.snapshot.commit}"
    if loaded.model is not None:
        yield f"{loaded.model.num_parameters() / 1e6:.1f} M parameters, {loaded.model.dtype}, on {loaded.model.device}"
    for step, seconds in loaded.timings.items():
        yield f"{step:<12} {seconds:8.3f} s"


def _verify(given: argparse.Namespace) -> Iterator[str]:
    hub = _hub(given).as_offline()
    snapshot = fetch(_request(given), hub=hub, verify="size")  # the digests come below: once is enough
    verify(snapshot, hub.cache_dir, "full")
    size = sum(file.size for file in snapshot.files)
    yield f"{len(snapshot.files)} files, {size / 1e6:.1f} MB, all digests right: {snapshot.path}"


def _doctor(given: argparse.Namespace) -> Iterator[str]:
    hub = _hub(given)
    yield f"python       {platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in ("phaita-loader", "huggingface_hub", "urllib3", "transformers", "torch", "safetensors"):
        yield f"{name:<16} {_version_of(name)}"
    yield f"cache        {hub.cache_dir} ({_free_space(hub.cache_dir)})"
    yield f"hub          {hub!r}"
    yield f"proxy        {'set' if any(map(proxy_for, hub.endpoints)) else 'none'}"
    if hub.offline:
        yield "connection   not tried: offline mode is on"
    else:
        ask = partial(hub.listing, given.repo_id, given.revision, timeout=_DOCTOR_TIMEOUT)
        listing, _ = Retrying(Policy(attempts=1)).call("connection", lambda _: ask())
        yield f"connection   fine: {given.repo_id} at {listing.commit}, {len(listing.files)} files"


def _failed(message: str, status: int) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - a command's own error message
    return status


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _free_space(folder: Path) -> str:
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    writable = "writable" if os.access(existing, os.W_OK) else "not writable"
    return f"{writable}, {shutil.disk_usage(existing).free / 1e9:.1f} GB free"


def _request(given: argparse.Namespace) -> ModelRequest:
    allow, ignore = given.include, tuple(given.exclude or ())
    return ModelRequest(given.repo_id, given.revision, given.kind, allow_patterns=allow, ignore_patterns=ignore)


def _hub(given: argparse.Namespace) -> Hub:
    return Hub(given.endpoint, offline=given.offline or None, cache_dir=given.cache_dir)


def _policy(given: argparse.Namespace) -> Policy:
    return Policy(
        attempts=given.attempts,
        timeout=given.timeout,
        stall=given.stall,
        connect=given.connect,
        deadline=given.deadline,
        backoff=Backoff(first=given.backoff_first, cap=given.backoff_cap),
        connections=given.connections,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phaita-loader",
        description="Get a model from the Hugging Face Hub onto this machine, whatever the network does.",
        epilog="The token comes from `hf auth login` or HF_TOKEN; HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HTTPS_PROXY "
        "mean what they mean to huggingface_hub.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('phaita-loader')}")
    commands = parser.add_subparsers(required=True, metavar="fetch | load | verify | doctor")
    fetching = commands.add_parser("fetch", help="bring a model's files into the cache and print the folder")
    loading = commands.add_parser("load", help="fetch, verify and build the model; print what it is and the seconds")
    verifying = commands.add_parser("verify", help="digest every cached file of a model again; no request is made")
    checking = commands.add_parser("doctor", help="say what is installed, set and reachable")
    for command, run in ((fetching, _fetch), (loading, _load), (verifying, _verify), (checking, _doctor)):
        command.set_defaults(run=run)
        _add_request_options(command, "openai-community/gpt2" if command is checking else None)
    for command in (fetching, loading):
        _add_policy_options(command)
    fetching.add_argument("--dry-run", action="store_true", help="print what would come, and fetch nothing")
    loading.add_argument("--dtype", help="a torch dtype such as bfloat16, or auto")
    loading.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    return parser


def _add_request_options(command: argparse.ArgumentParser, default: str | None) -> None:
    command.add_argument("repo_id", metavar="REPO", nargs="?" if default else None, default=default, help="org/name")
    command.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    command.add_argument("--kind", default="auto", choices=KINDS, help="what is loaded (default: auto)")
    command.add_argument("--include", action="append", metavar="GLOB", help="fetch these files instead; repeatable")
    command.add_argument("--exclude", action="append", metavar="GLOB", help="leave these files out; repeatable")
    command.add_argument("--cache-dir", help="default: huggingface_hub's cache")
    command.add_argument("--endpoint", action="append", help="a Hub or mirror, the preferred one first; repeatable")
    command.add_argument("--offline", action="store_true", help="make no request")


def _add_policy_options(command: argparse.ArgumentParser) -> None:
    default = Policy()
    for name, kind, value, what in (
        ("--attempts", int, default.attempts, "tries in all"),
        ("--timeout", float, default.timeout, "seconds a try"),
        ("--stall", float, default.stall, "seconds of silence"),
        ("--connect", float, default.connect, "seconds to reach a server, and to its first byte"),
        ("--deadline", float, default.deadline, "seconds for everything"),
        ("--backoff-first", float, default.backoff.first, "seconds to wait after the first failed try"),
        ("--backoff-cap", float, default.backoff.cap, "seconds to wait after a try at most"),
        ("--connections", int, default.connections, "at a time"),
    ):
        told = "none" if value is None else f"{value:g}"
        command.add_argument(name, type=kind, default=value, help=f"{what} (default: {told})")
    command.add_argument(
        "--verify", default="auto", choices=VERIFY_CHOICES, help="how far to trust the cache (default: auto)"
    )
