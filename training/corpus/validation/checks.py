"""What can be wrong with rows that are well formed each by itself."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from training.corpus.rows import Row
from training.corpus.texts import near_duplicates, normalized, words

NEAR = 0.8
"""Similarity (`texts.jaccard`) from which two rows count as near-duplicates."""
_LEAKED_WORDS = 5


class Problem(StrEnum):
    """Kinds of findings, worst first."""

    SCHEMA = "schema"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"
    NEAR_DUPLICATE = "near-duplicate"
    LEAK = "leak"
    SHARED_NEGATIVE = "shared negative"
    NO_HARD_NEGATIVE = "no hard negative"

    @property
    def is_fault(self) -> bool:
        """Whether the corpus should not be trained on as it is; the others are for a person to weigh."""
        return self in {Problem.SCHEMA, Problem.DUPLICATE, Problem.CONTRADICTION}

    @property
    def meaning(self) -> str:
        return _MEANING[self]


_MEANING = {
    Problem.SCHEMA: "the row does not fit the schema and was set aside",
    Problem.DUPLICATE: "all texts equal those of an earlier row, but for case and punctuation",
    Problem.CONTRADICTION: "a hard negative is the positive of another row with the same query and instruction",
    Problem.NEAR_DUPLICATE: f"texts overlap with an earlier row's: {NEAR:.0%} of runs of three words",
    Problem.LEAK: f"the document begins with the query, or repeats all of a query of {_LEAKED_WORDS} words or more",
    Problem.SHARED_NEGATIVE: "a hard negative is the positive of another row, for another query or instruction",
    Problem.NO_HARD_NEGATIVE: "an instruction, and neither a poisoned instruction nor a poisoned query",
}


class Finding(NamedTuple):
    """One row that a check objects to: its number from 1, and what was found."""

    number: int
    detail: str


Check = Callable[[Sequence[Row]], Iterator[Finding]]
"""Looks at all readable rows; numbers count those, from 1."""


def duplicates(rows: Sequence[Row]) -> Iterator[Finding]:
    """Find rows whose texts equal those of an earlier row."""
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        first = seen.setdefault("\n".join(normalized(text) for text in _texts(row)), number)
        if first != number:
            yield Finding(number, f"the same as row {first:,}")


def near_duplicate_rows(rows: Sequence[Row]) -> Iterator[Finding]:
    """Find rows that say nearly what an earlier one says."""
    texts = [words(" ".join(_texts(row))) for row in rows]
    for later, earlier in near_duplicates(texts, threshold=NEAR):
        if texts[later] != texts[earlier]:
            yield Finding(later + 1, f"nearly the same as row {earlier + 1:,}")


def leaks(rows: Sequence[Row]) -> Iterator[Finding]:
    """Find documents that can be told by the query's own words in their order."""
    for number, row in enumerate(rows, start=1):
        for name, query, document in _answers(row):
            asked, told = normalized(query), normalized(document)
            if told.startswith(f"{asked} ") and len(asked.split()) > 1:
                yield Finding(number, f"{name} begins with the query")
            elif len(asked.split()) >= _LEAKED_WORDS and f" {asked} " in f" {told} ":
                yield Finding(number, f"{name} repeats the query")


def contradictions(rows: Sequence[Row]) -> Iterator[Finding]:
    """Find rows that call a document wrong where another row calls it right."""
    right = _positives(rows)
    for number, row in enumerate(rows, start=1):
        wish = _wish(row.query_positive, row.instruction_positive)
        for name, document in _hard_negatives(row):
            others = [n for n, its_wish in right.get(normalized(document), ()) if its_wish == wish and n != number]
            if others:
                yield Finding(number, f"{name} is the positive of row {others[0]:,}, for the same wish")


def shared_negatives(rows: Sequence[Row]) -> Iterator[Finding]:
    """Find hard negatives that are right elsewhere: wanted in facets of one subject, odd in rows made one by one."""
    right = _positives(rows)
    for number, row in enumerate(rows, start=1):
        wish = _wish(row.query_positive, row.instruction_positive)
        for name, document in _hard_negatives(row):
            others = [n for n, its_wish in right.get(normalized(document), ()) if its_wish != wish and n != number]
            if others:
                yield Finding(number, f"{name} is the positive of row {others[0]:,}, for another wish")


def without_hard_negative(rows: Sequence[Row]) -> Iterator[Finding]:
    """Find rows with an instruction that nothing contrasts with."""
    for number, row in enumerate(rows, start=1):
        if row.instruction_positive is not None and not _hard_negatives(row):
            yield Finding(number, "only a query, an instruction and a document")


CHECKS: dict[Problem, Check] = {
    Problem.DUPLICATE: duplicates,
    Problem.CONTRADICTION: contradictions,
    Problem.NEAR_DUPLICATE: near_duplicate_rows,
    Problem.LEAK: leaks,
    Problem.SHARED_NEGATIVE: shared_negatives,
    Problem.NO_HARD_NEGATIVE: without_hard_negative,
}


def _texts(row: Row) -> list[str]:
    return [text or "" for pair in row.pairs() for text in pair]


def _answers(row: Row) -> Iterator[tuple[str, str, str]]:
    yield "document_positive", row.query_positive, row.document_positive
    if row.hard_negative_document_1 is not None:
        yield "hard_negative_document_1", row.query_positive, row.hard_negative_document_1
    if row.query_negative is not None and row.hard_negative_document_2 is not None:
        yield "hard_negative_document_2", row.query_negative, row.hard_negative_document_2


def _hard_negatives(row: Row) -> list[tuple[str, str]]:
    both = (
        ("hard_negative_document_1", row.hard_negative_document_1),
        ("hard_negative_document_2", row.hard_negative_document_2),
    )
    return [(name, document) for name, document in both if document is not None]


def _wish(query: str, instruction: str | None) -> tuple[str, str]:
    return normalized(query), normalized(instruction or "")


def _positives(rows: Sequence[Row]) -> dict[str, list[tuple[int, tuple[str, str]]]]:
    """For each document, the rows that call it right and for which wish."""
    found: dict[str, list[tuple[int, tuple[str, str]]]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        wish = _wish(row.query_positive, row.instruction_positive)
        found[normalized(row.document_positive)].append((number, wish))
    return found
