"""`validate_corpus`: every check of a corpus and what it is made of, in one report."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from infembed.config import Config
from infembed.progress import Report as Progress
from training.corpus.files import Quarantined, read_corpus
from training.corpus.rows import TEXT_COLUMNS, Row
from training.corpus.texts import words
from training.corpus.validation.checks import CHECKS, Finding, Problem
from training.corpus.validation.telltales import telltale

HARD_NEGATIVES = ("hard_negative_document_1", "hard_negative_document_2")
_EXAMPLES = 20


class Example(Config):
    """A row that a check objects to."""

    number: int
    detail: str


class Findings(Config):
    """What one check found; `examples` are the first few."""

    meaning: str
    is_fault: bool
    n_rows: int
    examples: tuple[Example, ...]


class Lengths(Config):
    """Words of a column's texts: least, quantiles, most."""

    n_texts: int
    least: int
    p5: float
    median: float
    p95: float
    most: int


class CorpusReport(Config):
    """What `infembed corpus validate` found; row numbers count from 1, readable rows only except for `schema`."""

    schema_version: Literal[1] = 1
    path: str
    n_rows: int
    n_quarantined: int
    problems: dict[Problem, Findings]
    lengths: dict[str, Lengths]
    types: dict[str, int]
    domains: dict[str, int]
    sources: dict[str, int]
    licenses: dict[str, int]
    telltale: dict[str, float] = Field(
        description="how often a bag-of-words classifier tells positives from these hard negatives; 0.5 is chance"
    )

    @property
    def n_faults(self) -> int:
        """Rows that should be repaired or removed before training, a row counted once for each check."""
        return sum(found.n_rows for found in self.problems.values() if found.is_fault)


def validate_corpus(path: Path, *, report: Progress = lambda *_: None) -> CorpusReport:
    """Read a corpus directory or file and run every check on it."""
    reading = read_corpus(path)
    rows: list[Row] = []
    for row in reading.rows:
        rows.append(row)
        if len(rows) % 1000 == 0:
            report("reading", len(rows), 0)
    problems = {Problem.SCHEMA: _schema_faults(reading.quarantined)}
    for done, (problem, check) in enumerate(CHECKS.items()):
        report("checking", done, len(CHECKS) + 1)
        problems[problem] = _findings(problem, list(check(rows)))
    report("checking", len(CHECKS), len(CHECKS) + 1)
    told = {name: hint.accuracy for name in HARD_NEGATIVES if (hint := telltale(rows, name)) is not None}
    report("checking", len(CHECKS) + 1, len(CHECKS) + 1)
    return CorpusReport(
        path=str(path),
        n_rows=len(rows),
        n_quarantined=len(reading.quarantined),
        problems=problems,
        lengths={name: found for name in TEXT_COLUMNS if (found := _lengths(rows, name)) is not None},
        types=_count(str(row.instruction_type or "unknown") for row in rows),
        domains=_count(row.domain or "unknown" for row in rows),
        sources=_count(row.source for row in rows),
        licenses=_count(row.license for row in rows),
        telltale=told,
    )


def _schema_faults(quarantined: Sequence[Quarantined]) -> Findings:
    return _findings(Problem.SCHEMA, [Finding(number, reason) for number, reason in quarantined])


def _findings(problem: Problem, found: Sequence[Finding]) -> Findings:
    examples = tuple(Example(number=number, detail=detail) for number, detail in islice(found, _EXAMPLES))
    rows = {number for number, _ in found}
    return Findings(meaning=problem.meaning, is_fault=problem.is_fault, n_rows=len(rows), examples=examples)


def _lengths(rows: Sequence[Row], column: str) -> Lengths | None:
    counts = [len(words(text)) for row in rows if (text := getattr(row, column)) is not None]
    if not counts:
        return None
    p5, median, p95 = (float(value) for value in np.percentile(counts, (5, 50, 95)))
    return Lengths(n_texts=len(counts), least=min(counts), p5=p5, median=median, p95=p95, most=max(counts))


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
