"""`python -m tests.wires.pages FILE...`: run what documents show, as a reader would: one block after the other.

Python blocks of a document share one namespace. An expression with a literal in the comment behind it must have that
value. Lines of `sh` blocks that begin with `phaita-loader` are run too.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from phaita_loader.cli import main as phaita_loader

_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(documents: Sequence[str]) -> None:
    """Run them all. The first failure ends it, with a traceback that names document and line."""
    for path in map(Path, documents):
        names: dict[str, Any] = {"__name__": "__main__"}
        for line, language, block in blocks(path.read_text(encoding="utf-8")):
            if language == "python":
                run(block, names, path, line)
            else:
                command(block)
            sys.stdout.write(f"{path}, line {line}: ran\n")


def blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """The line above each block's first, its language and its text."""
    for found in _BLOCK.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found[1], found[2]


def run(block: str, names: dict[str, Any], path: Path = Path("<block>"), line: int = 0) -> None:
    """Run a block, and hold the comments behind its expressions to what they say. Raises AssertionError, and others."""
    tree = _Claims(block.splitlines()).visit(ast.parse(block))
    code = compile(ast.fix_missing_locations(ast.increment_lineno(tree, line)), str(path), "exec")
    names["_assert_equal"] = _assert_equal
    exec(code, names)


def command(block: str) -> None:
    """Run the lines that are this package's command. Raises AssertionError for one that fails."""
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "phaita-loader":
            assert phaita_loader(words[1:]) == 0, line


class _Claims(ast.NodeTransformer):
    """Turns `value  # literal` into an assertion."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        claimed = _literal(self._lines[(node.end_lineno or 0) - 1])
        if claimed is not None:
            name = ast.Name("_assert_equal", ast.Load())
            node.value = ast.copy_location(ast.Call(name, [node.value, claimed], []), node.value)
        return node


def _literal(line: str) -> ast.expr | None:
    comment = line.rpartition("  # ")[2] if "  # " in line else ""
    try:
        ast.literal_eval(comment)
    except (ValueError, SyntaxError):
        return None
    return ast.parse(comment, mode="eval").body


def _assert_equal(value: object, claimed: object) -> None:
    assert value == claimed, f"{value!r} is not {claimed!r}"


if __name__ == "__main__":
    main(sys.argv[1:])
