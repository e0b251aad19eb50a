"""Salient terms of documents: nouns and pairs of words that mark one document among many (tf-idf)."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LONGEST_STEM = 5
_SHORTEST_WORD = 4
_MOST_TERMS = 4
_FEWEST_DOCUMENTS = 3
_LARGEST_SHARE = 0.03
_LEAST_NOUN_SHARE = 0.3
_MOST_ELSEWHERE = 2
_NO_NOUN = ("ly", "ing", "ed", "ous", "ive", "able", "ible", "ful", "less", "ic", "ical", "ary", "ular")
_BEFORE_NOUN = frozenset("a an the of for in on with by and or from to no any this that these its their".split())
_AFTER_NOUN = frozenset(
    "and are as at be by can for from had has have if in into is may of on or that to was were which will with".split()
)
_GENERAL = frozenset(
    "about above addition after also amount analysis area aspect author average background basis before below between "
    "case cases cause causes change changes chapter code column common condition conditions data date day days degree "
    "detail details difference differences doctor each effect effects else end even example examples fact factor "
    "factors figure first following form forms general good group groups health help here high however information "
    "item items kind last less level levels life list little long lower made main make many mean means medicine method "
    "month months more most much name names need needs none note number numbers often one only order other others "
    "page pages part parts patient patients people percent person period place point points present problem problems "
    "process purpose question range rate rates reason reasons reference related remarks report research result "
    "results return right risk role same sample second section sections series set several show side sign signs size "
    "some someone step steps studies study such support system table term terms text than that their them then there "
    "these they thing things this those time times today topic total treatment type types under unit until usage "
    "use used user users using value values very view way ways week weeks well what when where whether which while "
    "whole will with within without word words work year years your from into each both them they does were been "
    "have like just over ages aged ages disorder disease syndrome symptom symptoms objective conclusion conclusions "
    "mean median interval significance compare comparison respectively total affected individuals member members "
    "property properties parameter parameters element elements content contents topics link links description "
    "goal goals nature compensate website websites input hospital "
    "aim aims lack majority variety presence absence use possibility outcome purpose assessment evaluation".split()
)


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
                noun_uses[word] += before in _BEFORE_NOUN and (after in _AFTER_NOUN or not after)
            for term in set(_candidates(text)):
                self._df[term] += 1
                self._where[term].append(number)
        self._nouns = {word for word, n in uses.items() if noun_uses[word] >= _LEAST_NOUN_SHARE * n}

    def salient(self, text: str) -> list[str]:
        """Return the terms that mark a document, the most telling first."""
        counts = Counter(term for term in _candidates(text) if self._is_telling(term))
        return sorted(counts, key=lambda term: (-self._weight(term, counts[term]), term))[:_MOST_TERMS]

    def documents_with(self, term: str) -> list[int]:
        """Return the numbers of the documents that hold a term."""
        return self._where[term]

    def _is_telling(self, term: str) -> bool:
        head = term.split()[-1]
        is_special = any(self._elsewhere[word] <= _MOST_ELSEWHERE for word in term.split())
        is_frequent = _FEWEST_DOCUMENTS <= self._df[term] <= max(_LARGEST_SHARE * self._n_documents, _FEWEST_DOCUMENTS)
        return is_special and is_frequent and head in self._nouns and not head.endswith(_NO_NOUN)

    def _weight(self, term: str, count: int) -> float:
        return (1 + math.log(count)) * math.log(self._n_documents / self._df[term]) * len(term.split())


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.casefold())


def stems(text: str) -> frozenset[str]:
    """Return the beginnings of the words of a text: "mutation" and "mutations" have one."""
    return frozenset(word[:_LONGEST_STEM] for word in words(text))


def content_stems(text: str) -> frozenset[str]:
    """Return the beginnings of the words that say what a text is about."""
    return frozenset(word[:_LONGEST_STEM] for word in words(text) if len(word) >= _SHORTEST_WORD and word not in _GENERAL)


def judge_term(text: str, term: str) -> bool | None:
    """Tell whether a text mentions a term; None where it has a word of the term's family only."""
    if re.search(rf"\b{re.escape(term)}(?:s|es)?\b", text, re.IGNORECASE):
        return True
    return None if stems(text) & stems(term) else False


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
                if second and not first.endswith(("ly", "s")) and first not in _AFTER_NOUN | _BEFORE_NOUN:
                    yield f"{first} {second}"
