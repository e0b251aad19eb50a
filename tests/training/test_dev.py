"""Dev scores that can be worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from infembed.inputs import TextInput
from infembed.vectors import FloatArray
from tests.training_rows import make_row
from training.dev import choose_rows, dev_suite, score_dev

WISH, POISON = "No chemicals.", "Which pellets, and how many?"


class Scripted:
    """Gives documents the scores that a table holds for a query: documents are axes, queries their weights."""

    document_fingerprint = "scripted"

    def __init__(self, documents: Sequence[str], scores: dict[tuple[str, str | None], Sequence[float]]) -> None:
        self._place = {document: number for number, document in enumerate(documents)}
        self._scores = scores
        self.dim = len(documents)

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return np.eye(self.dim, dtype=np.float32)[[self._place[text] for text in texts]]

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        rows = np.array([self._scores[query.text, query.instruction] for query in queries], dtype=np.float32)
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


ROW = make_row()
DOCUMENTS = (ROW.document_positive, ROW.hard_negative_document_1 or "", ROW.hard_negative_document_2 or "")
QUERY = ROW.query_positive


def scored(og: Sequence[float], changed: Sequence[float], plain: Sequence[float] = (3, 2, 1)) -> object:
    scores = {(QUERY, WISH): og, (QUERY, POISON): changed, (QUERY, None): plain}
    return score_dev(dev_suite([ROW]), Scripted(DOCUMENTS, scores))


def test_document_that_falls_from_first_to_third_gives_two_thirds() -> None:
    """p-MRR of ranks 1 and 3 is 1 - 1/3; the poisoned wish finds its own document first."""
    found = scored(og=(3, 2, 1), changed=(1, 3, 2))
    assert found.p_mrr == pytest.approx(1 - 1 / 3)  # type: ignore[attr-defined]
    assert found.pairwise == 1  # type: ignore[attr-defined]
    assert found.ndcg == 1  # type: ignore[attr-defined]


def test_document_that_rises_from_second_to_first_gives_minus_a_half() -> None:
    found = scored(og=(2, 3, 1), changed=(3, 2, 1))
    assert found.p_mrr == pytest.approx(1 / 2 - 1)  # type: ignore[attr-defined]
    assert found.pairwise == 0  # type: ignore[attr-defined]
    both_second = 1 / np.log2(3)
    assert found.ndcg == pytest.approx(both_second)  # type: ignore[attr-defined]


def test_combined_is_p_mrr_plus_the_mean_quality_with_and_without_instructions() -> None:
    """Without instructions the wish's document is first (nDCG 1) and the poisoned wish's second (1 / log2 3)."""
    found = scored(og=(3, 2, 1), changed=(3, 2, 1))
    plain = (1 + 1 / np.log2(3)) / 2
    assert found.combined == pytest.approx(0 + (found.ndcg + plain) / 2)  # type: ignore[attr-defined]


def test_row_without_instruction_counts_for_plain_quality_alone() -> None:
    gone = dict.fromkeys(("instruction_positive", "instruction_negative", "hard_negative_document_1"))
    suite = dev_suite([ROW, make_row(**gone, query_positive="wasps", instruction_type="plain")])
    assert [query.id for query in suite.queries] == ["0-og", "0-c1", "1-og"]
    assert suite.queries[2].instruction is None


def test_poisoned_wish_that_keeps_the_document_is_no_topic_s_change() -> None:
    """Another row says that the document is right for the poisoned wish too, so nothing is withdrawn."""
    other = make_row(
        instruction_positive=POISON,
        instruction_negative="Something else.",
        hard_negative_document_1="Yet another document on slugs.",
    )
    suite = dev_suite([ROW, other])
    assert [query.id for query in suite.queries if query.topic == "0"] == ["0-og"]


def test_choice_of_dev_rows_does_not_depend_on_their_order() -> None:
    rows = [make_row(query_positive=f"slugs {number}", source=f"s{number % 2}") for number in range(40)]
    chosen = choose_rows(rows, most_of_each_source=7)
    assert chosen == choose_rows(reversed(rows), most_of_each_source=7)
    assert [row.source for row in chosen] == ["s0"] * 7 + ["s1"] * 7
