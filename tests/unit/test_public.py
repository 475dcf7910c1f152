"""The public names that users and type checkers rely on, and the direction of imports between modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import phaita_loader

FOLDER = Path(phaita_loader.__file__).parent
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.rglob("*.py"))
}

# Each may import those before it, and what those use; private modules and leaves take their place by that.
DIRECTION = [
    "policy",
    "retry",
    "_http",
    "_hub",
    "hub",
    "_cache",
    "_transfer",
    "fetch",
    "verify",
    "_build",
    "initialise",
    "load",
    "compat",
    "cli",
]

# Those that import torch at their top are imported by others in functions alone.
TORCHES = {name for name, tree in MODULES.items() if any(ast.unparse(line) == "import torch" for line in tree.body)}
IMPORTABLE = [pytest.param(name, marks=[pytest.mark.torch] if name in TORCHES else []) for name in MODULES]


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules that are imported at run time, anywhere in the file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


@cache
def siblings(module: str) -> set[str]:
    names = (
        name.removeprefix("phaita_loader.") for name in imports(MODULES[module]) if name.startswith("phaita_loader.")
    )
    return {known for name in names for known in (name, name.rpartition(".")[0]) if known in MODULES}


@cache
def reached(module: str) -> set[str]:
    found: set[str] = set()
    todo = {module}
    while todo:
        found |= todo
        todo = {name for one in todo for name in siblings(one)} - found
    return found


@pytest.mark.parametrize("module", DIRECTION)
def test_imports_go_one_way_only(module: str) -> None:
    later = tuple(DIRECTION[DIRECTION.index(module) + 1 :])
    rooms = [name for name in MODULES if name == module or name.startswith(f"{module}.")]
    assert not [found for room in rooms for found in reached(room) if found.split(".")[0] in later]


NETWORK = {"hub", "_hub", "_http"}


@pytest.mark.parametrize("module", ["_cache", "verify", "_build", "initialise"])
def test_what_comes_after_the_download_never_reaches_the_network(module: str) -> None:
    rooms = [name for name in MODULES if name == module or name.startswith(f"{module}.")]
    assert rooms
    assert not [found for room in rooms for found in reached(room) if found.split(".")[0] in NETWORK]


def test_a_package_has_at_most_fifteen_modules() -> None:
    rooms = Counter(name.split(".")[0] for name in MODULES if "." in name and not name.endswith("__init__"))
    assert set(rooms) == {"_build", "_cache", "_http", "_hub", "_transfer"}
    assert max(rooms.values()) <= 15


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_itself_in_the_end(module: str) -> None:
    assert all(module not in reached(other) for other in siblings(module))


def test_one_module_speaks_to_huggingface_hub() -> None:
    users = {name for name, tree in MODULES.items() if any(i.split(".")[0] == "huggingface_hub" for i in imports(tree))}
    assert users == {"hub"}


def test_one_place_sleeps() -> None:
    users = {name for name, tree in MODULES.items() if "time.sleep" in ast.unparse(tree)}
    assert users == {"retry"}


def test_all_is_sorted_and_there() -> None:
    names = phaita_loader.__all__
    assert list(names) == sorted(names)
    assert all(hasattr(phaita_loader, name) for name in names)
    public = {name for name, value in vars(phaita_loader).items() if not name.startswith("_")}
    assert public - set(names) - {name.split(".")[0] for name in MODULES} == set()


PROMISED = {
    "Backoff",
    "Hub",
    "ModelDownloadError",
    "ModelRequest",
    "Policy",
    "fetch",
    "load",
    "load_model_and_tokenizer",
    "load_pretrained_model",
    "robust_model_download",
}


def test_the_promised_names_are_there() -> None:
    assert set(phaita_loader.__all__) >= PROMISED


@pytest.mark.parametrize("module", [one for one in IMPORTABLE if not str(one.values[0]).endswith("__init__")])
def test_every_module_says_what_is_public(module: str) -> None:
    stated = __import__(f"phaita_loader.{module}", fromlist=["__all__"])
    assert all(hasattr(stated, name) for name in stated.__all__)


def undocumented(tree: ast.Module, public: set[str]) -> Iterator[str]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name not in public:
            continue
        members = node.body if isinstance(node, ast.ClassDef) else []
        methods = [m for m in members if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")]
        yield from (one.name for one in [node, *methods] if not ast.get_docstring(one))


@pytest.mark.parametrize("module", IMPORTABLE)
def test_docstrings(module: str) -> None:
    assert ast.get_docstring(MODULES[module])
    if not module.endswith("__init__"):
        stated = __import__(f"phaita_loader.{module}", fromlist=["__all__"])
        assert list(undocumented(MODULES[module], set(stated.__all__))) == []


def test_the_types_are_for_everybody() -> None:
    assert (FOLDER / "py.typed").is_file()


def test_importing_it_is_cheap() -> None:
    code = "import sys, phaita_loader; print({'torch', 'transformers', 'safetensors', 'tokenizers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "set()"
