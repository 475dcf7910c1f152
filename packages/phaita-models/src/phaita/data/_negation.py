"""Find the denied symptoms in a text by the method of NegEx (negation.toml has the words and the source)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from phaita._read import read_toml
from phaita.data._words import Found, Term, Word, normalized

__all__ = ["SYMPTOM", "mark_negated", "negation_terms"]

SYMPTOM = "symptom"

Kind = Literal["negates", "lists", "next", "after", "harmless", "affirms", "ends"]

# The maximum of words between the negation, or the last symptom that it denied, and the next symptom (Chapman: 5).
_REACH = {"negates": 5, "lists": 5, "next": 0}


@dataclass(frozen=True, slots=True)
class _Scope:
    """The open scope of a negation: up to `reach` words from the word `end`."""

    kind: str
    end: int
    reach: int


@cache
def negation_terms() -> Mapping[tuple[str, ...], Term]:
    """Return the terms of negation by their normalized words. Raises InvalidFile."""
    kinds = read_toml(Path(__file__).with_name("negation.toml"), dict[Kind, tuple[str, ...]])
    return {normalized(phrase): Term(kind) for kind, phrases in kinds.items() for phrase in phrases}


def mark_negated(words: Sequence[Word], found: Sequence[Found]) -> Iterator[tuple[Found, bool]]:
    """Yield each symptom of a text, in order, with True if it is denied."""
    list_ends = _list_ends(words, found)
    scope: _Scope | None = None
    for index, one in enumerate(found):
        if one.term.kind in _REACH:
            scope = _Scope(one.term.kind, one.end, _REACH[one.term.kind])
        elif one.term.kind == "ends":
            scope = None
        elif one.term.kind == SYMPTOM:
            denied = scope is not None and _covers(scope, one, words, list_ends)
            # A denied symptom extends the scope ("no fever, chills or cough"); any other closes it.
            scope = _Scope(scope.kind, one.end, _REACH["negates"]) if scope and denied else None
            yield one, _apply_following_term(denied, one, found[index + 1 : index + 2], words)


def _covers(scope: _Scope, one: Found, words: Sequence[Word], list_ends: Mapping[int, int]) -> bool:
    last, first = words[scope.end - 1], words[one.first]
    if first.clause != last.clause or one.first - scope.end > scope.reach:
        return False
    # "No fever, coughing blood": a comma may begin a new statement, and a false symptom is safer than a missed one.
    return scope.kind == "lists" or first.comma == last.comma or one.first <= list_ends.get(first.clause, -1)


def _apply_following_term(denied: bool, one: Found, follows: Sequence[Found], words: Sequence[Word]) -> bool:
    """Return True if the symptom is denied, after the term that directly follows it ("is absent", "is present")."""
    for other in follows:
        if other.first == one.end and words[other.first].clause == words[one.first].clause:
            return {"after": True, "affirms": False}.get(other.term.kind, denied)
    return denied


def _list_ends(words: Sequence[Word], found: Sequence[Found]) -> dict[int, int]:
    """Return by clause the first word of the last symptom after an "or": up to it, commas separate list items."""
    return {
        words[one.first].clause: one.first
        for one in found
        if one.term.kind == SYMPTOM and {"or", "nor"} & {word.text for word in words[max(one.first - 2, 0) : one.first]}
    }
