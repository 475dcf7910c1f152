"""Tables of text: in Markdown, and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

Lines = Sequence[Sequence[str]]
"""The head first."""


def markdown(lines: Lines) -> list[str]:
    """Lines of a Markdown table."""
    head, *rows = lines
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def aligned(lines: Lines) -> list[str]:
    """Lines of the same table with columns of even width."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines]


def short(number: float) -> str:
    """Three digits, or all of the integer's."""
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.3g}"
