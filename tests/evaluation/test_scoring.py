import random
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import measures
from evaluation.ranking import DEPTH, DocumentColumns, rank_columns
from evaluation.report import Measure
from evaluation.runs import SuiteRuns, donors, make_runs, query_inputs
from evaluation.scoring import measure_runs, score_suite
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from infembed.errors import BadInputError, NonFiniteError
from infembed.inputs import TextInput
from infembed.vectors import FloatArray
from tests.evaluation.models import FollowingEncoder, facet_suite, plain_suite, stance_suite


class TableEncoder:
    """Gives each text, or text and instruction, the vector a table holds for it."""

    dim = 2
    document_fingerprint = "f" * 64

    def __init__(self, table: dict[str, tuple[float, float]]) -> None:
        self._table = table
        self.encoded: list[str] = []

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._look_up(texts)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._look_up([f"{q.text} + {q.instruction}" if q.instruction else q.text for q in queries])

    def _look_up(self, keys: Sequence[str]) -> FloatArray:
        self.encoded.extend(keys)
        return np.array([self._table[key] for key in keys], dtype=np.float32)


def _suite(
    documents: dict[str, str],
    queries: Sequence[SuiteQuery],
    qrels: dict[str, dict[str, int]],
    *,
    is_paired: bool = False,
) -> Suite:
    return Suite(
        info=SuiteInfo(name="tiny", licence="none", source="made for tests", is_paired=is_paired),
        documents=documents,
        queries=tuple(queries),
        qrels=qrels,
        qrel_diff=derive_qrel_diff(queries, qrels),
    )


def _query(name: str, instruction: str | None = None, original: str | None = None, **more: object) -> SuiteQuery:
    given = {"id": name, "topic": "t", "text": "q", "instruction": instruction, "original": original, **more}
    return SuiteQuery.model_validate(given)


DOCUMENTS = {"a": "text a", "b": "text b", "c": "text c"}
TABLE = {
    "text a": (1.0, 0.0),
    "text b": (0.8, 0.6),
    "text c": (0.0, 1.0),
    "q": (1.0, 0.1),
    "q + old": (1.0, 0.0),
    "q + new": (0.0, 1.0),
}


def test_three_documents_and_two_queries_computed_by_hand() -> None:
    """Old: a b c, relevant a and b. New: c b a, relevant b and c. Withdrawn a falls from 1 to 3; b stays at 2."""
    suite = _suite(
        DOCUMENTS,
        [_query("og", "old"), _query("new", "new", "og", instruction_type="facet")],
        {"og": {"a": 1, "b": 1, "c": 0}, "new": {"a": 0, "b": 1, "c": 1}},
    )
    scores = score_suite(suite, TableEncoder(TABLE))
    (topic,) = scores.topics
    assert topic.values[Measure.P_MRR] == pytest.approx(1 - 1 / 3)
    assert topic.by_type == {"facet": pytest.approx(2 / 3)}
    assert topic.values[Measure.PRESERVE_MRR] == 0.0
    assert topic.values[Measure.PAIRWISE] == 1.0
    assert topic.values[Measure.NDCG] == pytest.approx(1.0)
    assert topic.values[Measure.MAP] == pytest.approx(1.0)
    assert topic.values[Measure.RECALL] == 1.0
    assert topic.values[Measure.RECIPROCAL_RANK] == 1.0
    worst_plain = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert topic.values[Measure.PLAIN_NDCG] == pytest.approx((1 + worst_plain) / 2)
    assert topic.values[Measure.LIFT] == pytest.approx(1 - (1 + worst_plain) / 2)
    assert Measure.SHUFFLED_P_MRR not in topic.values, "there is no other topic to take an instruction from"
    assert (scores.suite, scores.n_documents, scores.n_queries, scores.digest) == ("tiny", 3, 2, suite.digest)


def test_a_suite_without_instructions_has_ranking_measures_only() -> None:
    suite = _suite(DOCUMENTS, [_query("one")], {"one": {"b": 1}})
    (topic,) = score_suite(suite, TableEncoder(TABLE)).topics
    assert set(topic.values) == {
        Measure.NDCG,
        Measure.PLAIN_NDCG,
        Measure.MAP,
        Measure.RECALL,
        Measure.RECIPROCAL_RANK,
    }
    assert topic.values[Measure.RECIPROCAL_RANK] == 0.5
    assert topic.values[Measure.NDCG] == topic.values[Measure.PLAIN_NDCG] == pytest.approx(1 / np.log2(3))


def test_only_candidates_are_ranked_where_a_query_names_them() -> None:
    """Among b and c the withdrawn b falls from 1 to 2; a, first of all documents, is not there."""
    suite = _suite(
        DOCUMENTS,
        [_query("og", "old", candidates=("c", "b")), _query("new", "new", "og", candidates=("c", "b"))],
        {"og": {"b": 1}, "new": {"c": 1}},
    )
    runs = make_runs(suite, TableEncoder(TABLE))
    assert list(runs.instructed["og"]) == ["b", "c"]
    (topic,) = measure_runs(suite, runs).topics
    assert topic.values[Measure.P_MRR] == 0.5
    assert topic.values[Measure.NDCG] == 1.0


def test_ties_go_to_the_higher_document_id() -> None:
    suite = _suite(DOCUMENTS, [_query("one")], {"one": {"a": 1}})
    table = {"text a": (1.0, 0.0), "text b": (1.0, 0.0), "text c": (0.5, 0.0), "q": (1.0, 0.0)}
    runs = make_runs(suite, TableEncoder(table))
    assert runs.instructed["one"].ranks(["a", "b", "c"]) == [2, 1, 3]
    assert measure_runs(suite, runs).topics[0].values[Measure.RECIPROCAL_RANK] == 0.5


@pytest.mark.parametrize(("second", "expected"), [("q + new", 1.0), ("q + old", 0.0)])
def test_a_pair_counts_only_when_both_are_right(second: str, expected: float) -> None:
    suite = _suite(
        DOCUMENTS,
        [_query("one", "old"), _query("two", "new", text="q")],
        {"one": {"a": 1}, "two": {"c": 1}},
        is_paired=True,
    )
    (topic,) = score_suite(suite, TableEncoder(TABLE | {"q + new": TABLE[second]})).topics
    assert topic.values[Measure.PAIRED] == expected


def test_the_worst_instruction_of_a_topic_is_its_robustness() -> None:
    suite = _suite(DOCUMENTS, [_query("one", "old"), _query("two", "new")], {"one": {"a": 1}, "two": {"a": 1}})
    (topic,) = score_suite(suite, TableEncoder(TABLE)).topics
    assert topic.values[Measure.ROBUSTNESS] == 0.5


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 30))
@settings(deadline=None)
def test_rankings_are_those_of_sorting_by_score_and_id(scores: list[int], depth: int) -> None:
    ids = [f"d{number}" for number in range(len(scores))]
    columns = DocumentColumns(ids)
    row = np.array(scores, dtype=np.float32)[columns.order]
    run = rank_columns(columns, np.arange(len(row)), row, depth=depth)
    expected = sorted(zip(map(float, scores), ids, strict=True), reverse=True)[:depth]
    assert list(run.items()) == [(document, score) for score, document in expected]
    places = {document: place for place, (_, document) in enumerate(expected, start=1)}
    assert run.ranks(ids) == [places.get(document, len(run) + 1) for document in ids]
    assert run.ranks([]) == []


def test_a_long_ranking_is_cut_at_its_depth_and_absent_documents_rank_behind_it() -> None:
    suite = _suite(
        {f"d{number:04}": f"text {number}" for number in range(DEPTH + 5)}, [_query("one")], {"one": {"d0000": 1}}
    )
    table = {f"text {number}": (float(number), 0.0) for number in range(DEPTH + 5)} | {"q": (1.0, 0.0)}
    run = make_runs(suite, TableEncoder(table)).instructed["one"]
    assert len(run) == DEPTH
    assert run.ranks([f"d{DEPTH + 4:04}", "d0005", "d0004"]) == [1, DEPTH, DEPTH + 1]


@pytest.mark.parametrize("suite", [facet_suite(n_topics=8), stance_suite(n_topics=8), plain_suite(n_topics=8)])
def test_every_value_is_that_of_a_brute_force_implementation(suite: Suite) -> None:
    encoder = FollowingEncoder(0.3)
    scores = score_suite(suite, encoder)
    found = {topic.topic: topic for topic in scores.topics}
    expected = _brute_force(suite, encoder)
    assert list(found) == list(expected)
    for topic, values in expected.items():
        assert found[topic].values == pytest.approx(values), topic


def test_values_of_fewer_candidates_are_those_of_a_brute_force_implementation() -> None:
    whole = facet_suite(n_topics=8)
    rng = random.Random(3)
    queries = []
    candidates: dict[str, tuple[str, ...]] = {}
    for query in whole.queries:
        own = [document for document in whole.documents if document.startswith(f"{query.topic}:")]
        candidates.setdefault(query.topic, (*own, *rng.sample(sorted(set(whole.documents) - set(own)), 9)))
        queries.append(query.model_copy(update={"candidates": candidates[query.topic]}))
    suite = Suite(whole.info, whole.documents, tuple(queries), whole.qrels, whole.qrel_diff)
    encoder = FollowingEncoder(0.3)
    for topic in score_suite(suite, encoder).topics:
        assert topic.values == pytest.approx(_brute_force(suite, encoder)[topic.topic])


def _brute_force(suite: Suite, encoder: FollowingEncoder) -> dict[str, dict[Measure, float]]:
    """Score with plain dictionaries and `measures` alone."""
    documents = dict(
        zip(suite.documents, encoder.encode_documents(list(suite.documents.values())).astype(float), strict=True)
    )

    def run(query: SuiteQuery, instruction: str | None) -> dict[str, float]:
        (vector,) = encoder.encode_queries([TextInput(query.text, instruction=instruction)])
        ids = query.candidates or tuple(documents)
        return {i: float(np.float32(vector.astype(float) @ documents[i])) for i in ids}

    runs = {query.id: run(query, query.instruction) for query in suite.queries}
    plain = {query.id: run(query, None) for query in suite.queries}
    per_query = {
        Measure.NDCG: measures.ndcg(suite.qrels, runs, k=10),
        Measure.PLAIN_NDCG: measures.ndcg(suite.qrels, plain, k=10),
        Measure.MAP: measures.mean_average_precision(suite.qrels, runs),
        Measure.RECALL: measures.recall(suite.qrels, runs, k=100),
        Measure.RECIPROCAL_RANK: measures.reciprocal_rank(suite.qrels, runs, k=10),
    }
    given = donors(suite)
    topics: dict[str, dict[Measure, list[float]]] = {}
    for query in suite.queries:
        values = topics.setdefault(query.topic, {})
        for measure, found in per_query.items():
            values.setdefault(measure, []).append(found[query.id])
        if query.original is None:
            continue
        withdrawn, donor = suite.qrel_diff[query.id], given[query.id]
        relevant = [document for document, grade in suite.qrels[query.id].items() if grade > 0]
        moved = {
            Measure.P_MRR: measures.p_mrr(runs[query.original], runs[query.id], withdrawn),
            Measure.SHUFFLED_P_MRR: measures.p_mrr(run(query, donor.original), run(query, donor.changed), withdrawn),
            Measure.PAIRWISE: measures.pairwise(runs[query.id], relevant, withdrawn),
        }
        if kept := suite.preserved(query):
            moved[Measure.PRESERVE_MRR] = measures.p_mrr(runs[query.original], runs[query.id], kept)
        for measure, value in moved.items():
            values.setdefault(measure, []).append(value)
    result = {}
    for topic, lists in topics.items():
        result[topic] = {measure: fmean(values) for measure, values in lists.items()}
        if any(query.instruction for query in suite.queries):
            result[topic][Measure.LIFT] = result[topic][Measure.NDCG] - result[topic][Measure.PLAIN_NDCG]
            result[topic][Measure.ROBUSTNESS] = min(lists[Measure.NDCG])
    return result


def test_shuffled_instructions_are_a_pair_of_another_topic() -> None:
    suite = facet_suite(n_topics=20)
    given = donors(suite)
    assert given.keys() == {query.id for query in suite.changed_queries}
    for query in suite.changed_queries:
        sources = {
            other.topic
            for other in suite.changed_queries
            if (suite.by_id[other.original or ""].instruction, other.instruction) == given[query.id]
        }
        assert sources - {query.topic}
    assert len(set(given.values())) > 10, "not all from one topic"
    assert donors(suite) == given


def test_no_instruction_is_exchanged_where_all_are_the_same() -> None:
    """Prefer recent documents over old ones, for every topic: another topic's instruction is one's own."""
    queries: list[SuiteQuery] = []
    qrels: dict[str, dict[str, int]] = {}
    for topic in ("s", "t"):
        queries += [_query(f"{topic}1", "old", topic=topic), _query(f"{topic}2", "new", f"{topic}1", topic=topic)]
        qrels |= {f"{topic}1": {"a": 1}, f"{topic}2": {"c": 1}}
    suite = _suite(DOCUMENTS, queries, qrels)
    assert donors(suite) == {}
    assert Measure.SHUFFLED_P_MRR not in score_suite(suite, TableEncoder(TABLE)).topics[0].values


def test_a_model_that_follows_gains_nothing_from_other_topics_instructions() -> None:
    suite = facet_suite()
    shuffled = score_suite(suite, FollowingEncoder(0.5)).values_of(Measure.SHUFFLED_P_MRR).values()
    real = score_suite(suite, FollowingEncoder(0.5)).values_of(Measure.P_MRR).values()
    assert fmean(real) > 0.5
    assert abs(fmean(shuffled)) < 0.15


def test_every_text_is_encoded_once() -> None:
    suite = _suite(DOCUMENTS, [_query("og", "old"), _query("new", "new", "og")], {"og": {"a": 1}, "new": {"c": 1}})
    encoder = TableEncoder(TABLE)
    make_runs(suite, encoder)
    assert sorted(encoder.encoded) == ["q", "q + new", "q + old", "text a", "text b", "text c"]
    assert len(query_inputs(suite)) == 3


@pytest.mark.parametrize("kind", ["instructed", "plain", "shuffled", "shuffled_original"])
def test_a_query_without_a_run_is_an_error(kind: str) -> None:
    suite = facet_suite(n_topics=5)
    runs = make_runs(suite, FollowingEncoder(0.3))
    found = dict(getattr(runs, kind))
    name, _ = found.popitem()
    with pytest.raises(BadInputError, match=f"query '{name}' .* has no run; score every query"):
        measure_runs(suite, SuiteRuns(**{**vars(runs), kind: found}))


@pytest.mark.parametrize("kind", ["instructed", "plain", "shuffled", "shuffled_original"])
def test_a_run_that_was_cut_short_is_an_error(kind: str) -> None:
    suite = facet_suite(n_topics=5)
    runs = make_runs(suite, FollowingEncoder(0.3))
    columns = DocumentColumns(list(suite.documents))
    cut = rank_columns(columns, np.arange(7), np.arange(7, dtype=np.float32))
    found = dict(getattr(runs, kind))
    found[next(iter(found))] = cut
    with pytest.raises(BadInputError, match="has 7 documents, expected 25"):
        measure_runs(suite, SuiteRuns(**{**vars(runs), kind: found}))


def test_documents_that_are_mostly_tied_are_an_error() -> None:
    suite = _suite(DOCUMENTS, [_query("one")], {"one": {"a": 1}})
    table = dict.fromkeys(TABLE, (1.0, 0.0))
    with pytest.raises(BadInputError, match="the model gives different documents the same vector"):
        score_suite(suite, TableEncoder(table))


@pytest.mark.parametrize("broken", ["text b", "q"])
def test_vectors_that_are_not_numbers_are_an_error(broken: str) -> None:
    suite = _suite(DOCUMENTS, [_query("one")], {"one": {"a": 1}})
    with pytest.raises(NonFiniteError):
        score_suite(suite, TableEncoder(TABLE | {broken: (float("nan"), 0.0)}))
