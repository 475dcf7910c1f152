"""Find docstrings that begin like a question: `python tests/docstrings.py packages tests`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_QUESTION = re.compile(r"(what|whether|who|whose|which|how|where)\b", re.IGNORECASE)


def main(arguments: list[str]) -> int:
    """Print every docstring that is to be reworded; return the exit status."""
    found = [
        f"{path}:{line}: {text}\n" for path in _modules(arguments) for line, text in questions(path.read_text("utf-8"))
    ]
    sys.stdout.writelines(found)
    return 1 if found else 0


def questions(source: str) -> list[tuple[int, str]]:
    """Return the line number and the first line of each docstring that begins with a question word."""
    found = ((line, text.strip().partition("\n")[0]) for line, text in docstrings(ast.parse(source)))
    return sorted((line, text) for line, text in found if _QUESTION.match(text))


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each docstring: of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        if not isinstance(node, _DOCUMENTED):
            continue
        before: ast.stmt | None = None
        for statement in node.body:
            if isinstance(before, ast.Assign | ast.AnnAssign | None) and (text := _text(statement)):
                yield statement.lineno, text
            before = statement


def _text(statement: ast.stmt) -> str:
    """Return the text of a statement that is nothing but a string; of any other, an empty one."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return statement.value.value if isinstance(statement.value.value, str) else ""
    return ""


def _modules(roots: Iterable[str]) -> Iterator[Path]:
    return (path for root in roots for path in sorted(Path(root).rglob("*.py")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
