"""A text as words, and the known terms among them.

Case, apostrophes, hyphens, spaces, a leading article, a final s, words of degree such as "very", and whose symptom it
is make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Found", "Term", "Word", "find_terms", "normalized", "words_of"]

_WORD = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+(?:['\u2019\u02bc][^\W_]+)*")
_APOSTROPHES = re.compile(r"['\u2019\u02bc]")
# A hyphen stands where a space may; across any other mark two words belong to different things.
_JOINS = re.compile(r"\s+|\s*[-\u2010\u2011]\s*")
_ENDS = re.compile(r"[.;:!?\u2026\n]|\u2014|\s[-\u2013]\s")
_PRONOUNS = {
    **dict.fromkeys(("her", "him", "his", "its", "me", "our", "their", "them", "us", "your"), "my"),
    **dict.fromkeys(("he", "she", "they", "we", "you"), "i"),
    **dict.fromkeys(("he's", "she's", "they're", "you're"), "i'm"),
    **dict.fromkeys(("they've", "we've", "you've"), "i've"),
}
_ARTICLES = frozenset({"a", "an", "the"})
# They say how bad it is, not what it is.
_DEGREES = frozenset({"extremely", "pretty", "quite", "rather", "really", "terribly", "very"})


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
    """The words of a text, in order; those of degree are passed over."""
    words: list[Word] = []
    end = run = clause = comma = 0
    for match in _WORD.finditer(text):
        gap = text[end : match.start()]
        run += _JOINS.fullmatch(gap) is None
        clause += _ENDS.search(gap) is not None
        comma += "," in gap
        end = match.end()
        if (plain := _plain(match[0])) not in _DEGREES:
            words.append(Word(plain, match.start(), end, run, clause, comma))
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
    folded = _APOSTROPHES.sub("'", word).casefold()
    plain = _PRONOUNS.get(folded, folded).replace("'", "")
    # "She breathes" is "I breathe", and one swollen leg is two.
    return plain[:-1] if len(plain) > 3 and plain.endswith("s") and not plain.endswith(("is", "ss", "us")) else plain
