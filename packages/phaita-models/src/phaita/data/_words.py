"""Split a text into normalized words, and find the known terms among them.

The comparison ignores case, apostrophes, hyphens, spaces, a leading article, a final s, words of degree such as "very",
and the person (my, her).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Found", "Term", "Word", "find_terms", "normalized", "words_of"]

_WORD = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+(?:['\u2019\u02bc][^\W_]+)*")
_APOSTROPHES = re.compile(r"['\u2019\u02bc]")
# A hyphen may replace a space; no term extends across any other mark.
_SAME_RUN = re.compile(r"\s+|\s*[-\u2010\u2011]\s*")
_CLAUSE_END = re.compile(r"[.;:!?\u2026\n]|\u2014|\s[-\u2013]\s")
_PRONOUNS = {
    **dict.fromkeys(("her", "him", "his", "its", "me", "our", "their", "them", "us", "your"), "my"),
    **dict.fromkeys(("he", "she", "they", "we", "you"), "i"),
    **dict.fromkeys(("he's", "she's", "they're", "you're"), "i'm"),
    **dict.fromkeys(("they've", "we've", "you've"), "i've"),
}
_ARTICLES = frozenset({"a", "an", "the"})
# They state the degree, not the symptom.
_DEGREES = frozenset({"extremely", "pretty", "quite", "rather", "really", "terribly", "very"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word, at the characters [start, end) of the text.

    run, clause, comma: the number of breaks of that kind before it. All words of a term have the same run.
    """

    text: str
    start: int
    end: int
    run: int
    clause: int
    comma: int


@dataclass(frozen=True, slots=True)
class Term:
    """The meaning of a sequence of words: its kind, and for a symptom its id."""

    kind: str
    symptom: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A term found at the words [first, end)."""

    term: Term
    first: int
    end: int


def words_of(text: str) -> list[Word]:
    """Return the words of a text, in order, without words of degree."""
    words: list[Word] = []
    end = run = clause = comma = 0
    for match in _WORD.finditer(text):
        gap = text[end : match.start()]
        run += _SAME_RUN.fullmatch(gap) is None
        clause += _CLAUSE_END.search(gap) is not None
        comma += "," in gap
        end = match.end()
        if (plain := _normalize(match[0])) not in _DEGREES:
            words.append(Word(plain, match.start(), end, run, clause, comma))
    return words


def normalized(phrase: str) -> tuple[str, ...]:
    """Return a phrase as it is compared: normalized words, without a leading article."""
    words = tuple(word.text for word in words_of(phrase))
    return words[1:] if words[:1] and words[0] in _ARTICLES else words


def find_terms(words: list[Word], terms: Mapping[tuple[str, ...], Term]) -> list[Found]:
    """Return the terms among the words, without overlaps: the longer term wins, then the earlier one."""
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


def _normalize(word: str) -> str:
    folded = _APOSTROPHES.sub("'", word).casefold()
    plain = _PRONOUNS.get(folded, folded).replace("'", "")
    # "She breathes" equals "I breathe", and "swollen legs" equals "swollen leg".
    return plain[:-1] if len(plain) > 3 and plain.endswith("s") and not plain.endswith(("is", "ss", "us")) else plain
