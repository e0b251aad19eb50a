"""What two texts share, for finding copies: normalised words, n-grams of them, and near-duplicates by MinHash."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"[^\W_]+")
_N_PERMUTATIONS = 128
_SHINGLE_WORDS = 3


def words(text: str) -> tuple[str, ...]:
    """Split a text into words as copies share them: case, accents, punctuation and spacing do not count."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return tuple(_WORD.findall("".join(c for c in plain if not unicodedata.combining(c))))


def normalized(text: str) -> str:
    """Return a text's words with single spaces: equal for texts that differ in case, accents or punctuation only."""
    return " ".join(words(text))


def n_grams(text_words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Yield every run of `n` words; a shorter text is one run of its own, an empty one none."""
    if 0 < len(text_words) < n:
        yield tuple(text_words)
    for start in range(len(text_words) - n + 1):
        yield tuple(text_words[start : start + n])


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """Return how alike two texts are: shared runs of three words over all of them, from 0 to 1."""
    first, second = set(n_grams(one, _SHINGLE_WORDS)), set(n_grams(other, _SHINGLE_WORDS))
    return len(first & second) / len(first | second) if first | second else 1.0


def near_duplicates(texts: Sequence[Sequence[str]], *, threshold: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of positions, (later, earlier), whose `jaccard` reaches the threshold; one earlier text for each.

    MinHash proposes candidates (datasketch), exact similarity decides, so nothing is reported that is not alike; a
    pair close to the threshold may be missed.
    """
    from datasketch import MinHash, MinHashLSH

    shingles = ([" ".join(gram).encode() for gram in n_grams(text, _SHINGLE_WORDS)] for text in texts)
    index = MinHashLSH(threshold=threshold, num_perm=_N_PERMUTATIONS)
    for place, sketch in enumerate(MinHash.generator(shingles, num_perm=_N_PERMUTATIONS, seed=1)):
        for found in sorted(index.query(sketch)):
            if jaccard(texts[place], texts[found]) >= threshold:
                yield place, found
                break
        index.insert(place, sketch)
