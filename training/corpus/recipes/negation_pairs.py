"""WikiFactCheck's negation pairs: a sentence, and one that denies it.

Queries are the content words of a sentence, so that none repeats the document that answers it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from evaluation.suites.draft import digest_number
from evaluation.suites.sources import read_text
from evaluation.suites.splits import Split, split_of
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.wordings import choose_wording
from training.corpus.rows import InstructionType

N_PAIRS = 4_500
"""Of 14,970 pairs: more would be a third of the whole mix."""

_FILE = "wikifactcheck_english_negation_pairs.tsv.gz"
_LICENSE = "CC BY-SA 4.0"
_FEWEST_WORDS = 6
_FEWEST_QUERY_WORDS = 3
_LEAST_SHARED = 0.5
_WORD = re.compile(r"\w[\w'\u2019-]*")
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at by for from to and or as is are was were be been being it its this that these those he "
        "she they his her their with which who whom has have had",
    )
)


class _Pair(NamedTuple):
    number: int
    sentence: str
    negated: str


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    pairs = sorted(_usable(_read(directory, aside)), key=lambda pair: digest_number(f"negation pair:{pair.sentence}"))
    chosen = [pair for pair in pairs[:N_PAIRS] if split_of("negation-pairs", pair.sentence.casefold()) is split]
    for place, pair in enumerate(chosen):
        if len(_shared_words(pair)) >= _FEWEST_QUERY_WORDS and digest_number(f"kind:{pair.sentence}") % 2:
            yield _exclusion(pair, split)
        else:
            yield _opposition(pair, chosen[(place + 1) % len(chosen)], split)
    yield from aside


def _read(directory: Path, aside: list[Quarantined]) -> Iterator[_Pair]:
    for number, line in enumerate(read_text(directory, _FILE).removesuffix("\n").split("\n")[1:], start=2):
        cells = line.rstrip("\r").split("\t")
        if len(cells) == 2:
            yield _Pair(number, *cells)
        else:
            aside.append(Quarantined(number, f"{_FILE}: {len(cells)} columns, expected sentence and negated"))


def _usable(pairs: Iterator[_Pair]) -> Iterator[_Pair]:
    """Keep pairs of whole sentences that share most of their words and are not the same."""
    for pair in pairs:
        first, second = (set(_WORD.findall(text.casefold())) for text in (pair.sentence, pair.negated))
        is_long = min(len(first), len(second)) >= _FEWEST_WORDS
        if is_long and first != second and len(first & second) >= _LEAST_SHARED * len(first | second):
            yield pair


def _exclusion(pair: _Pair, split: Split) -> Found:
    """Quote the sentence that is not wanted: the other one is right, though its words are not those quoted."""
    is_swapped = digest_number(f"swap:{pair.sentence}") % 2 == 0
    wanted, unwanted = (pair.negated, pair.sentence) if is_swapped else (pair.sentence, pair.negated)
    return make_row(
        pair.number,
        query_positive=" ".join(_shared_words(pair)),
        instruction_positive=choose_wording("statement.exclude", f"{pair.sentence}:+", split).format(
            statement=unwanted
        ),
        document_positive=wanted,
        instruction_negative=choose_wording("statement.exclude", f"{pair.sentence}:-", split).format(statement=wanted),
        hard_negative_document_1=unwanted,
        source="negation-pairs",
        instruction_type=InstructionType.EXCLUSION,
        license=_LICENSE,
        domain="encyclopedia",
    )


def _opposition(pair: _Pair, other: _Pair, split: Split) -> Found:
    """Give the words of one sentence; ask for the sentence that denies it, or for the one that says it."""
    return make_row(
        pair.number,
        query_positive=" ".join(_content_words(pair.sentence)),
        instruction_positive=choose_wording("statement.opposite", f"{pair.sentence}:+", split),
        document_positive=pair.negated,
        instruction_negative=choose_wording("statement.same", f"{pair.sentence}:-", split),
        hard_negative_document_1=pair.sentence,
        query_negative=" ".join(_content_words(other.sentence)),
        hard_negative_document_2=other.negated,
        source="negation-pairs",
        instruction_type=InstructionType.NEGATION,
        license=_LICENSE,
        domain="encyclopedia",
    )


def _content_words(sentence: str) -> Sequence[str]:
    return [word for word in _WORD.findall(sentence) if word.casefold() not in _FUNCTION_WORDS]


def _shared_words(pair: _Pair) -> Sequence[str]:
    """Return the content words of a pair that fit both of its sentences."""
    others = set(_content_words(pair.negated))
    return [word for word in _content_words(pair.sentence) if word in others]


RECIPE = Recipe(
    name="negation-pairs",
    folder="negation-pairs",
    files=(_FILE,),
    license=_LICENSE,
    origin="https://github.com/dmlls/cannot-dataset",
    rows=_rows,
)
