"""Which of the symptoms in a text are denied, by the method of NegEx (negation.toml has the words and the source)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from phaita._read import read_toml
from phaita.data._words import Found, Term, Word, normalized

__all__ = ["SYMPTOM", "judged", "negation_terms"]

SYMPTOM = "symptom"

Kind = Literal["negates", "lists", "next", "after", "harmless", "affirms", "ends"]

# How many words may lie between the negation, or the last symptom that it denied, and the next symptom (Chapman: 5).
_REACH = {"negates": 5, "lists": 5, "next": 0}


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a negation still covers after the word before `end`."""

    kind: str
    end: int
    reach: int


@cache
def negation_terms() -> Mapping[tuple[str, ...], Term]:
    """The words of negation, normalized. Raises InvalidFile."""
    kinds = read_toml(Path(__file__).with_name("negation.toml"), dict[Kind, tuple[str, ...]])
    return {normalized(phrase): Term(kind) for kind, phrases in kinds.items() for phrase in phrases}


def judged(words: Sequence[Word], found: Sequence[Found]) -> Iterator[tuple[Found, bool]]:
    """Each symptom of a text, in order, and whether it is denied."""
    listed = _last_of_lists(words, found)
    scope: _Scope | None = None
    for index, one in enumerate(found):
        if one.term.kind in _REACH:
            scope = _Scope(one.term.kind, one.end, _REACH[one.term.kind])
        elif one.term.kind == "ends":
            scope = None
        elif one.term.kind == SYMPTOM:
            denied = scope is not None and _covers(scope, one, words, listed)
            scope = _Scope(scope.kind, one.end, _REACH["negates"]) if scope and denied else None
            yield one, _corrected(denied, one, found[index + 1 : index + 2], words)


def _covers(scope: _Scope, one: Found, words: Sequence[Word], listed: Mapping[int, int]) -> bool:
    last, first = words[scope.end - 1], words[one.first]
    if first.clause != last.clause or one.first - scope.end > scope.reach:
        return False
    # "No fever, coughing blood": where a comma may begin something new, a symptom too many is the safer error.
    return scope.kind == "lists" or first.comma == last.comma or one.first <= listed.get(first.clause, -1)


def _corrected(denied: bool, one: Found, follows: Sequence[Found], words: Sequence[Word]) -> bool:
    """What the term right behind a symptom makes of it."""
    for other in follows:
        if other.first == one.end and words[other.first].clause == words[one.first].clause:
            return {"after": True, "affirms": False}.get(other.term.kind, denied)
    return denied


def _last_of_lists(words: Sequence[Word], found: Sequence[Found]) -> dict[int, int]:
    """By clause, the first word of the last symptom behind an "or": to there the commas separate a list's items."""
    return {
        words[one.first].clause: one.first
        for one in found
        if one.term.kind == SYMPTOM and {"or", "nor"} & {word.text for word in words[max(one.first - 2, 0) : one.first]}
    }
