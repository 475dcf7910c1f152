"""The check of docstrings finds every place where one can stand, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docstrings import main, questions

BAD = '''"""What a module is."""

LIMIT = 3
"""How many
there may be."""


class Store:
    """whose it is"""

    size: int
    """Where it ends."""

    async def full(self) -> bool:
        """Whether it is full."""
        return False
'''
GOOD = '''"""Whatever a module is."""

LIMIT = "Which is a value"
print(LIMIT)
"""What stands here documents nothing."""


def size() -> int:
    """Return what is there."""
    where = "How"
    return len(where)
'''


def test_every_kind_of_docstring_is_read() -> None:
    assert questions(BAD) == [
        (1, "What a module is."),
        (4, "How many"),
        (9, "whose it is"),
        (12, "Where it ends."),
        (15, "Whether it is full."),
    ]


def test_what_is_no_docstring_and_what_is_no_question_pass() -> None:
    assert questions(GOOD) == []


def test_each_is_named_by_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "good.py").write_text(GOOD)
    assert main([str(tmp_path)]) == 0
    (tmp_path / "inner" / "bad.py").write_text(BAD)
    capsys.readouterr()
    assert main([str(tmp_path)]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{tmp_path / 'inner' / 'bad.py'}:1: What a module is."
    assert len(shown) == 5
