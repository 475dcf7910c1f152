"""phaita uses the public names of phaita_loader, and nothing else of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import phaita

FOLDER = Path(phaita.__file__).parent


def imports_of_the_loader() -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each name that phaita imports from the loader; a whole module has the name ""."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found = [(alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [(node.module or "", alias.name) for alias in node.names]
            else:
                continue
            yield from (one for one in found if one[0].split(".")[0] == "phaita_loader")


IMPORTS = sorted(set(imports_of_the_loader()))


def test_something_is_imported() -> None:
    assert ("phaita_loader", "load") in IMPORTS


def test_no_module_is_private() -> None:
    assert [module for module, _ in IMPORTS if any(part.startswith("_") for part in module.split("."))] == []


def test_every_name_is_in_all_of_its_module() -> None:
    assert [one for one in IMPORTS if one[1] not in import_module(one[0]).__all__] == []
