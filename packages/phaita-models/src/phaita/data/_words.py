"""A text as words, and the known terms among them, whatever the case, apostrophes, hyphens and spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Found", "Term", "Word", "find_terms", "normalized", "words_of"]

_WORD = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+(?:['\u2019\u02bc][^\W_]+)*")
_APOSTROPHES = re.compile(r"['\u2019\u02bc]")
_JOINS = re.compile(r"\s+|\s*[-\u2010\u2011]\s*")
_ENDS = re.compile(r"[.;:!?\u2026\n]|\u2014|\s[-\u2013]\s")
_POSSESSIVES = frozenset({"my", "his", "her", "its", "our", "their", "your"})
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word at the characters [start, end).

    run, clause, comma: how many of such breaks come before it. A term is said without a break in its run.
    """

    text: str
    start: int
    end: int
    run: int
    clause: int
    comma: int


@dataclass(frozen=True, slots=True)
class Term:
    """What a sequence of words means: a kind, and the symptom if it is one."""

    kind: str
    symptom: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A term at the words [first, end)."""

    term: Term
    first: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of a text, in order."""
    words: list[Word] = []
    end = run = clause = comma = 0
    for match in _WORD.finditer(text):
        gap = text[end : match.start()]
        run += _JOINS.fullmatch(gap) is None
        clause += _ENDS.search(gap) is not None
        comma += "," in gap
        end = match.end()
        words.append(Word(_plain(match[0]), match.start(), end, run, clause, comma))
    return words


def normalized(phrase: str) -> tuple[str, ...]:
    """A phrase as it is compared: plain words, without a leading article."""
    words = tuple(word.text for word in words_of(phrase))
    return words[1:] if words[:1] and words[0] in _ARTICLES else words


def find_terms(words: list[Word], terms: Mapping[tuple[str, ...], Term]) -> list[Found]:
    """The terms among the words, none overlapping another: of two that would, the longer one, then the earlier."""
    free = [True] * len(words)
    found = []
    for one in sorted(_candidates(words, terms), key=lambda one: (one.first - one.end, one.first)):
        if all(free[one.first : one.end]):
            free[one.first : one.end] = [False] * (one.end - one.first)
            found.append(one)
    return sorted(found, key=lambda one: one.first)


def _candidates(words: list[Word], terms: Mapping[tuple[str, ...], Term]) -> Iterator[Found]:
    longest = max(map(len, terms), default=0)
    for first, word in enumerate(words):
        sequence: tuple[str, ...] = ()
        for end, other in enumerate(words[first : first + longest], first + 1):
            if other.run != word.run:
                break
            sequence = (*sequence, other.text)
            if term := terms.get(sequence):
                yield Found(term, first, end)


def _plain(word: str) -> str:
    plain = _APOSTROPHES.sub("", word).casefold()
    return "my" if plain in _POSSESSIVES else plain
