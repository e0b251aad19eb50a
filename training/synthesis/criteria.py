"""What makes a row good: criteria that a judge scores one by one, and checks that need no judge."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from infembed.config import Config
from training.corpus.rows import MAX_CHARACTERS
from training.synthesis.draft import Draft, Product, Stage


class Criterion(StrEnum):
    """Scored from 1 to 5; the prompt `judge` says what the scores mean. `match` is 5 or 1: found blind, or not."""

    PLAUSIBLE = "plausible"
    VIOLATING = "violating"
    ANSWERABLE = "answerable"
    POSITIVE = "positive"
    NOT_LEXICAL = "not_lexical"
    MATCH = "match"


class Check(StrEnum):
    """What a program finds by itself; a row that fails one is never shown to the judge."""

    TYPE_DOES_NOT_FIT = "type_does_not_fit"
    LENGTH = "length"
    UNCHANGED = "unchanged"
    COPIED = "copied"
    ECHOED = "echoed"
    TELLTALE = "telltale"


class Finding(NamedTuple):
    """Why a row is rejected: a check, a criterion or a fault of an answer, and what was seen."""

    stage: Stage
    reason: str
    detail: str


class Bounds(Config):
    """Lengths in words; what a program can count is not left to a judge."""

    fewest_instruction_words: int = Field(default=3, ge=1)
    most_instruction_words: int = Field(default=60, ge=1)
    fewest_query_words: int = Field(default=2, ge=1)
    most_query_words: int = Field(default=40, ge=1)
    fewest_document_words: int = Field(default=20, ge=1)
    most_document_words: int = Field(default=160, ge=1)
    most_copied: float = Field(
        default=0.4, gt=0, le=1, description="share of a text's runs of five words that may stand in the passage"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for what in ("instruction", "query", "document"):
            fewest, most = getattr(self, f"fewest_{what}_words"), getattr(self, f"most_{what}_words")
            if fewest > most:
                raise ValueError(f"fewest_{what}_words ({fewest}) is above most_{what}_words ({most})")
        return self

    def of(self, product: Product) -> tuple[int, int]:
        """Return the fewest and the most words of a kind of text."""
        match product:
            case Product.INSTRUCTION:
                return self.fewest_instruction_words, self.most_instruction_words
            case Product.QUERY:
                return self.fewest_query_words, self.most_query_words
            case Product.DOCUMENT:
                return self.fewest_document_words, self.most_document_words


def check_draft(stage: Stage, draft: Draft, bounds: Bounds) -> Iterator[Finding]:
    """Check the text that a generating stage has just added to a draft."""
    text = draft.text_of(stage)
    for check, detail in _faults(stage, text, draft, bounds):
        yield Finding(stage, check, detail)


def _faults(stage: Stage, text: str, draft: Draft, bounds: Bounds) -> Iterator[tuple[Check, str]]:
    what = stage.product
    n_words, (fewest, most) = len(text.split()), bounds.of(what)
    if not fewest <= n_words <= most:
        yield Check.LENGTH, f"{n_words:,} words, expected {fewest:,} to {most:,}"
    elif len(text) > MAX_CHARACTERS:
        yield Check.LENGTH, f"{len(text):,} characters, expected at most {MAX_CHARACTERS:,}"
    if _normalized(text) in {_normalized(other) for other in draft.texts_before(stage)}:
        yield Check.UNCHANGED, "repeats another text of the row"
    if (found := _TELLTALE.search(text)) is not None:
        yield Check.TELLTALE, f"speaks of its own making: {found[0]!r}"
    if (copied := share_copied(text, draft.document_positive)) > bounds.most_copied:
        yield Check.COPIED, f"{copied:.0%} of its runs of five words stand in the passage"
    if what is Product.DOCUMENT and (echoed := _runs(text) & _runs(draft.instruction_for(stage))):
        yield Check.ECHOED, f"repeats its instruction: {' '.join(min(echoed))!r}"


def share_copied(text: str, source: str) -> float:
    """Return the share of `text`'s runs of five words that `source` holds too."""
    runs, known = _runs(text), _runs(source)
    return len(runs & known) / len(runs) if runs else 0.0


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _normalized(text).split()
    return {tuple(words[start : start + _RUN_WORDS]) for start in range(len(words) - _RUN_WORDS + 1)}


def _normalized(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


_RUN_WORDS = 5
_TELLTALE = re.compile(
    r"hard[ -]negative|\b(the|this|your) (original )?(instruction|query|passage)\b"
    r"|\bas (requested|instructed)\b|\bper your request\b|\b(positive|negative) (passage|document|instruction)\b"
    r"|\bas an ai\b|<[/]?[A-Za-z_]+>|\$[a-z_]{3,}|lorem ipsum",
    re.IGNORECASE,
)
