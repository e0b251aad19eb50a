"""Salient terms of documents: nouns and pairs of words that mark one document among many (tf-idf)."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LONGEST_STEM = 5
_SHORTEST_WORD = 4
_MOST_TERMS = 4
_FEWEST_DOCUMENTS = 3
_LARGEST_SHARE = 0.03
_LEAST_NOUN_SHARE = 0.35
_MOST_ELSEWHERE = 2
_FEWEST_MENTIONS = 2
_NO_NOUN = (
    "ly",
    "ing",
    "ed",
    "ous",
    "ive",
    "able",
    "ible",
    "ful",
    "less",
    "ic",
    "ness",
    "ility",
    "icity",
    "ical",
    "ary",
    "ular",
)
_BEFORE_NOUN = re.compile(r"a|an|the|of|for|in|on|with|by|and|or|from|any|these|its|their")
_AFTER_NOUN = re.compile(
    r"and|are|as|at|be|by|can|for|from|had|has|have|if|in|into|is|may|of"
    r"|on|or|that|to|was|were|which|will|with"
)
_GENERAL = frozenset(Path(__file__).with_name("general_words.txt").read_text(encoding="utf-8").split())
"""Words that say nothing about a subject."""


class Terms:
    """The terms of a set of documents that mark some of them.

    `elsewhere` are texts of another field: what occurs there too ("ability", "influence") is no term of this one.
    """

    def __init__(self, texts: Sequence[str], elsewhere: Iterable[str]) -> None:
        self._elsewhere = Counter(word for text in elsewhere for word in set(words(text)))
        self._n_documents = len(texts)
        self._df: Counter[str] = Counter()
        self._where: dict[str, list[int]] = defaultdict(list)
        noun_uses: Counter[str] = Counter()
        uses: Counter[str] = Counter()
        for number, text in enumerate(texts):
            found = words(text)
            for before, word, after in zip(["", *found], found, [*found[1:], ""], strict=False):
                uses[word] += 1
                noun_uses[word] += _is_noun_here(before, after)
            for term in set(_candidates(text)):
                self._df[term] += 1
                self._where[term].append(number)
        self._nouns = {word for word, n in uses.items() if noun_uses[word] >= _LEAST_NOUN_SHARE * n}

    def salient(self, text: str) -> list[str]:
        """Return the terms that mark a document, the most telling first: those it comes back to, or technical ones."""
        counts = Counter(term for term in _candidates(text) if self._is_telling(term))
        telling = [term for term, count in counts.items() if count >= _FEWEST_MENTIONS or self._is_technical(term)]
        return sorted(telling, key=lambda term: (-self._weight(term, counts[term]), term))[:_MOST_TERMS]

    def documents_with(self, term: str) -> list[int]:
        """Return the numbers of the documents that hold a term."""
        return self._where[term]

    def _is_technical(self, term: str) -> bool:
        return any(not self._elsewhere[word] for word in term.split())

    def _is_telling(self, term: str) -> bool:
        head = term.rsplit(maxsplit=1)[-1]
        is_special = any(self._elsewhere[word] <= _MOST_ELSEWHERE for word in term.split())
        is_frequent = _FEWEST_DOCUMENTS <= self._df[term] <= max(_LARGEST_SHARE * self._n_documents, _FEWEST_DOCUMENTS)
        return is_special and is_frequent and head in self._nouns and not head.endswith(_NO_NOUN)

    def _weight(self, term: str, count: int) -> float:
        return (1 + math.log(count)) * math.log(self._n_documents / self._df[term]) * len(term.split())


def _is_noun_here(before: str, after: str) -> bool:
    return bool(_BEFORE_NOUN.fullmatch(before)) and (not after or bool(_AFTER_NOUN.fullmatch(after)))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=1 << 15)
def stems(text: str) -> frozenset[str]:
    """Return the beginnings of the words of a text: "mutation" and "mutations" have one."""
    return frozenset(word[:_LONGEST_STEM] for word in words(text))


@lru_cache(maxsize=1 << 15)
def content_stems(text: str) -> frozenset[str]:
    """Return the beginnings of the words that say what a text is about."""
    return frozenset(
        word[:_LONGEST_STEM] for word in words(text) if len(word) >= _SHORTEST_WORD and word not in _GENERAL
    )


def judge_term(text: str, term: str) -> bool | None:
    """Tell whether a text mentions a term; None where it has a word of the term's family only."""
    if not stems(text) & stems(term):
        return False
    return True if re.search(rf"\b{re.escape(term)}(?:s|es)?\b", text, re.IGNORECASE) else None


def surface(text: str, term: str) -> str:
    """Return a term as a text writes it; small where it is written small somewhere."""
    found = [match.group() for match in re.finditer(rf"\b{re.escape(term)}\b", text, re.IGNORECASE)]
    return term if term in found or not found else found[0]


def _candidates(text: str) -> Iterable[str]:
    """Yield words, and pairs of words that stand side by side."""
    for phrase in re.split(r"[^\w\s-]+", text.casefold()):
        found = [word if len(word) >= _SHORTEST_WORD and word not in _GENERAL else "" for word in phrase.split()]
        found = [word if _WORD.fullmatch(word) else "" for word in found]
        for first, second in pairwise([*found, ""]):
            if first:
                yield first
                if second and not first.endswith(("ly", "s")):
                    yield f"{first} {second}"
