import json
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import measures
from infembed.errors import BadInputError

ORACLE = Path(__file__).parents[3] / "shared" / "references" / "pmrr_cases.json"


def _run(*documents: str) -> dict[str, float]:
    return {document: float(len(documents) - position) for position, document in enumerate(documents)}


@pytest.mark.parametrize(
    ("original", "changed", "expected"), [(2, 5, 0.6), (5, 2, -0.6), (3, 3, 0.0), (1, 1000, 0.999)]
)
def test_a_document_that_falls_scores_above_zero(original: int, changed: int, expected: float) -> None:
    assert measures.rank_change(original, changed) == pytest.approx(expected)


def test_an_absent_document_ranks_behind_the_last() -> None:
    (change,) = measures.changes(_run(*"abcdefghij"), _run(*"acdefghijk"), ["b"])
    assert (change.original_rank, change.changed_rank) == (2, 11)


def test_ties_go_to_the_higher_document_id() -> None:
    assert measures.ranks({"a": 1.0, "c": 1.0, "b": 1.0}) == {"c": 1, "b": 2, "a": 3}


def test_p_mrr_of_no_documents_is_refused() -> None:
    with pytest.raises(BadInputError, match="at least one document"):
        measures.p_mrr(_run("a"), _run("a"), [])


@pytest.mark.skipif(not ORACLE.is_file(), reason="the oracle cases are not beside this checkout")
def test_every_oracle_case_of_p_mrr() -> None:
    checked = 0
    for case in json.loads(ORACLE.read_text())["cases"]:
        if case["error"] or not all(
            f"{query}-og" in case["original_run"] and f"{query}-changed" in case["changed_run"]
            for query in case["changed_qrels"]
        ):
            continue
        found = [
            measures.p_mrr(case["original_run"][f"{query}-og"], case["changed_run"][f"{query}-changed"], documents)
            for query, documents in case["changed_qrels"].items()
            if documents
        ]
        assert fmean(found) == pytest.approx(case["expected_pmrr"], abs=1e-12), case["name"]
        checked += 1
    assert checked >= 8


_DOCUMENTS = [f"d{i}" for i in range(8)]
_SCORES = st.dictionaries(st.sampled_from(_DOCUMENTS), st.integers(0, 4).map(float), min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    topics=st.dictionaries(
        st.sampled_from(["q1", "q2", "q3"]),
        st.tuples(_SCORES, _SCORES, st.lists(st.sampled_from(_DOCUMENTS), min_size=1, unique=True)),
        min_size=1,
    )
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_p_mrr_equals_mteb(topics: dict[str, tuple[dict[str, float], dict[str, float], list[str]]]) -> None:
    mteb = pytest.importorskip("mteb._evaluators.retrieval_metrics", reason="needs the evaluate extra's mteb")
    expected = mteb.calculate_pmrr(
        {f"{query}-og": topic[0] for query, topic in topics.items()},
        {f"{query}-changed": topic[1] for query, topic in topics.items()},
        {query: topic[2] for query, topic in topics.items()},
    )
    assert fmean(measures.p_mrr(*topic) for topic in topics.values()) == pytest.approx(expected, abs=1e-12)


def test_pairwise_counts_pairs_in_order() -> None:
    run = _run("a", "b", "c", "d")
    assert measures.pairwise(run, ["a", "c"], ["b", "d"]) == 0.75
    assert measures.pairwise(run, ["d"], ["a"]) == 0.0


def test_sicr_needs_rank_and_score_to_move_the_right_way() -> None:
    plain = {"a": 0.9, "g": 0.5, "b": 0.4}
    better = {"g": 0.95, "a": 0.9, "b": 0.1}
    worse = {"a": 0.9, "b": 0.6, "g": 0.2}
    assert measures.sicr(plain, better, worse, ["g"]) == 1.0
    assert measures.sicr(plain, worse, better, ["g"]) == 0.0
    assert measures.sicr(plain, {**better, "g": 0.45, "a": 0.4}, worse, ["g"]) == 0.0


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ((3, 1, 5), 1.0),
        ((6, 2, 9), (1 - 4**0.5 / 20) / 2**0.5),
        ((30, 5, 40), 0.01),
        ((4, 8, 2), -1.0),
        ((2, 4, 6), -0.5),
        ((4, 1, 3), -0.25),
    ],
)
def test_wise_follows_its_cases(ranks: tuple[int, int, int], expected: float) -> None:
    def with_gold_at(rank: int) -> dict[str, float]:
        others = [f"x{i}" for i in range(60)]
        return _run(*others[: rank - 1], "g", *others[rank - 1 :])

    plain, instructed, reversed_ = (with_gold_at(rank) for rank in ranks)
    assert measures.wise(plain, instructed, reversed_, ["g"], n_candidates=6) == pytest.approx(expected)


def test_paired_accuracy_needs_both_queries_right() -> None:
    recall = {"p1_q1": 1.0, "p1_q2": 0.0, "p2_q1": 1.0, "p2_q2": 1.0}
    assert measures.paired_accuracy(recall, [("p1_q1", "p1_q2"), ("p2_q1", "p2_q2")]) == 0.5


def test_robustness_averages_the_worst_of_each_group() -> None:
    values = {"1_a": 0.9, "1_b": 0.4, "2_a": 1.0, "2_b": 0.8, "2_c": 0.6}
    groups = {query: query.split("_")[0] for query in values}
    assert measures.robustness(values, groups) == pytest.approx(0.5)


def test_ranking_measures_of_a_case_one_can_check_by_hand() -> None:
    qrels = {"q": {"d": 1, "e": 1}}
    runs = {"q": _run("d", "x", "e", "y")}
    assert measures.ndcg(qrels, runs, k=5)["q"] == pytest.approx(0.91972, abs=1e-5)
    assert measures.mean_average_precision(qrels, runs)["q"] == pytest.approx(0.83333, abs=1e-5)
    assert measures.recall(qrels, runs, k=2)["q"] == 0.5
    assert measures.reciprocal_rank({"q": {"e": 1}}, runs, k=2)["q"] == 0.0
    assert measures.reciprocal_rank({"q": {"e": 1}}, runs, k=3)["q"] == pytest.approx(1 / 3)


def test_a_judged_query_without_a_run_is_a_failure() -> None:
    with pytest.raises(BadInputError, match="1 of 2 judged queries have no run"):
        measures.ndcg({"q": {"d": 1}, "r": {"d": 1}}, {"q": {"d": 1.0}}, k=10)


def test_a_judged_query_that_retrieved_nothing_counts_as_zero() -> None:
    assert measures.ndcg({"q": {"d": 1}}, {"q": {}}, k=10) == {"q": 0.0}


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(BadInputError, match="document 'd' for query 'q' is nan"):
        measures.ndcg({"q": {"d": 1}}, {"q": {"d": float("nan")}}, k=10)
