"""The promises to PHAITA's code: the import paths, and that importing is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import phaita

FOLDER = Path(phaita.__file__).parent
MODULES = {
    path.relative_to(FOLDER).with_suffix("").as_posix().replace("/", "."): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.rglob("*.py"))
}


def stated(tree: ast.Module) -> list[str]:
    """The module's `__all__`."""
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["__all__"]
    ]
    return list(ast.literal_eval(values[0])) if values else []


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__init__")])
def test_every_module_says_what_is_public(name: str) -> None:
    tree = MODULES[name]
    public = stated(tree)
    assert public
    capitals = [one for one in public if one.isupper()]
    # ruff's order of __all__: constants, classes, functions.
    assert public == sorted(public, key=lambda one: (one not in capitals, one[0].islower(), one))


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_documented(name: str) -> None:
    tree = MODULES[name]
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in stated(tree):
            members = node.body if isinstance(node, ast.ClassDef) else []
            methods = [one for one in members if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
            # An overload is a signature; what it stands for has the words.
            said = [one for one in methods if "overload" not in map(ast.unparse, one.decorator_list)]
            assert [one.name for one in [node, *said] if not ast.get_docstring(one)] == []


def test_imports_are_absolute() -> None:
    levels = {node.level for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert levels == {0}


DIRECTION = ["data", "utils", "models", "training"]

# PHAITA's paths, each with the module whose names it hands on.
OLD_PATHS = {
    "utils.model_loader": "phaita_loader.compat",
    "utils.realism_scorer": "phaita.models.realism",
}


def imported(name: str) -> set[str]:
    return {node.module or "" for node in ast.walk(MODULES[name]) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", [name for name in MODULES if name not in OLD_PATHS])
def test_imports_go_one_way_only(name: str) -> None:
    place = name.split(".")[0]
    later = DIRECTION[DIRECTION.index(place) + 1 :] if place in DIRECTION else []
    found = imported(name)
    assert [one for one in found for other in later if f"{one}.".startswith(f"phaita.{other}.")] == []
    assert found.isdisjoint(f"phaita.{old}" for old in OLD_PATHS)


@pytest.mark.parametrize(("old", "new"), OLD_PATHS.items())
def test_an_old_path_only_hands_names_on(old: str, new: str) -> None:
    assert imported(old) == {new}
    assert not [node for node in MODULES[old].body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.torch
@pytest.mark.parametrize(("old", "new"), OLD_PATHS.items())
def test_an_old_path_has_the_same_objects(old: str, new: str) -> None:
    there, here = import_module(f"phaita.{old}"), import_module(new)
    names = stated(MODULES[old])
    assert {name: getattr(there, name) is getattr(here, name) for name in names} == dict.fromkeys(names, True)


def test_the_old_path_of_the_realism_scorer_has_all_its_names() -> None:
    assert stated(MODULES["utils.realism_scorer"]) == stated(MODULES["models.realism"])


LIGHT = [
    "phaita",
    "phaita.data.icd_conditions",
    "phaita.models.enhanced_bayesian_network",
    "phaita.training.complaints",
    "phaita.utils.config",
]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_is_cheap(module: str) -> None:
    heavy = "{'torch', 'torch_geometric', 'transformers', 'huggingface_hub', 'sklearn'}"
    code = f"import sys, {module}; print({heavy} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "set()"
