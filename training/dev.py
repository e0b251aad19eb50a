"""Dev suites made from corpus rows, and the one number that decides which checkpoint is kept.

Each row with an instruction becomes a topic: the wish as written, then the same query under the poisoned instruction,
which withdraws the positive document. Rows without instruction say whether plain retrieval holds.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evaluation.encoders import ScoredModel
from evaluation.report import Measure, SuiteScores
from evaluation.scoring import score_suite
from evaluation.suites.draft import SuiteDraft, digest_number
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from infembed.encoder import Encoder
from training.corpus.rows import InstructionType, Row

__all__ = ["DevScore", "ScoredModel", "choose_rows", "dev_suite", "score_dev"]


class DevScore(NamedTuple):
    """Means over topics, as fractions."""

    p_mrr: float
    pairwise: float
    ndcg: float
    plain_ndcg: float

    @property
    def combined(self) -> float:
        """p-MRR plus the mean nDCG@10 with and without instructions: a point of one is worth a point of the other."""
        return self.p_mrr + (self.ndcg + self.plain_ndcg) / 2


def choose_rows(rows: Iterable[Row], *, most_of_each_source: int) -> list[Row]:
    """Choose by digest, so that dev does not change with the order of rows."""
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        by_source.setdefault(row.source, []).append(row)
    return [
        row
        for _, found in sorted(by_source.items())
        for row in sorted(found, key=lambda r: digest_number(r.model_dump_json()))[:most_of_each_source]
    ]


def dev_suite(rows: Sequence[Row], *, name: str = "dev") -> Suite:
    """Make a suite whose corpus is every document of the rows."""
    draft = SuiteDraft()
    relevant: dict[tuple[str, str | None], list[str]] = {}
    for number, row in enumerate(rows):
        for place, pair in enumerate(row.pairs()):
            document = draft.document(f"{number}-{place}", pair.document)
            relevant.setdefault((pair.query, pair.instruction), []).append(document)
    seen: set[tuple[str, str | None]] = set()
    for number, row in enumerate(rows):
        wish = (row.query_positive, row.instruction_positive)
        if wish in seen:
            continue
        seen.add(wish)
        _add_topic(draft, str(number), row, relevant)
    return draft.finish(SuiteInfo(name=name, licence="that of the corpora", source="training corpora", split="dev"))


def _add_topic(draft: SuiteDraft, topic: str, row: Row, relevant: dict[tuple[str, str | None], list[str]]) -> None:
    wanted = relevant[row.query_positive, row.instruction_positive]
    original = SuiteQuery(id=f"{topic}-og", topic=topic, text=row.query_positive, instruction=row.instruction_positive)
    draft.query(original, wanted)
    if row.instruction_negative is None:
        return
    other = relevant[row.query_positive, row.instruction_negative]
    if set(wanted) - set(other):
        kind = row.instruction_type or InstructionType.FACET
        changed = SuiteQuery(
            id=f"{topic}-c1",
            topic=topic,
            text=row.query_positive,
            instruction=row.instruction_negative,
            instruction_type=kind,
            original=original.id,
        )
        draft.query(changed, other)


def score_dev(suite: Suite, encoder: Encoder) -> DevScore:
    """Score a model on a dev suite."""
    scores = score_suite(suite, encoder)
    return DevScore(
        p_mrr=_mean(scores, Measure.P_MRR),
        pairwise=_mean(scores, Measure.PAIRWISE),
        ndcg=_mean(scores, Measure.NDCG),
        plain_ndcg=_mean(scores, Measure.PLAIN_NDCG),
    )


def _mean(scores: SuiteScores, measure: Measure) -> float:
    values = list(scores.values_of(measure).values())
    return sum(values) / len(values) if values else 0.0
