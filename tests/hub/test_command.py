"""`python -m tests.hub`, as a person runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tests.hub"]
MINILM = ["--repo", "sentence-transformers/all-MiniLM-L6-v2"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_help() -> None:
    done = _run("--help")
    assert done.returncode == 0
    assert "--size {tiny,real}" in done.stdout


@pytest.mark.parametrize("arguments", [["--size", "huge"], ["--port", "x"], ["--port", "70000"], ["--repo", "none"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    done = _run(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


@pytest.mark.torch
def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run(*MINILM, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"tests.hub: port {port} on 127.0.0.1 cannot be used: Address already in use\n"


@pytest.mark.torch
def test_it_serves_until_it_is_told_to_stop() -> None:
    with subprocess.Popen([*COMMAND, *MINILM], cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        name, _, url = serving.stdout.readline().strip().partition("=")
        assert name == "export HF_ENDPOINT"
        with urllib.request.urlopen(f"{url}/api/models/{MINILM[1]}", timeout=20) as answer:
            assert answer.status == 200
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=20) == 0
