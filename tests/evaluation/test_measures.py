import json
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import measures
from infembed.errors import BadInputError

_ORACLE: dict[str, Any] = json.loads(Path(__file__).with_name("pmrr_cases.json").read_text(encoding="utf-8"))
_REFUSED = {"missing_query_is_silently_skipped", "query_with_empty_changed_list", "no_changed_docs_at_all"}
_CASES = [case for case in _ORACLE["cases"] if case["name"] not in _REFUSED]


def _run(*documents: str) -> dict[str, float]:
    return {document: float(len(documents) - position) for position, document in enumerate(documents)}


def _run_with(document: str, rank: int, *, length: int = 60) -> dict[str, float]:
    others = [f"x{i}" for i in range(length)]
    return _run(*others[: rank - 1], document, *others[rank - 1 :])


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


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])
def test_p_mrr_has_the_oracles_value_rank_for_rank(case: dict[str, Any]) -> None:
    per_topic = []
    for query, documents in case["changed_qrels"].items():
        runs = case["original_run"][f"{query}-og"], case["changed_run"][f"{query}-changed"]
        for change, expected in zip(measures.changes(*runs, documents), case["per_query"][query], strict=True):
            assert (change.document_id, change.original_rank, change.changed_rank) == (
                expected["doc"],
                expected["og_rank"],
                expected["new_rank"],
            )
            assert change.score == pytest.approx(expected["score"], abs=1e-15)
        per_topic.append(measures.p_mrr(*runs, documents))
    assert fmean(per_topic) == pytest.approx(case["expected_pmrr"], abs=1e-12)


@pytest.mark.parametrize("name", sorted(_REFUSED))
def test_what_mteb_skips_or_crashes_on_is_refused(name: str) -> None:
    (case,) = (case for case in _ORACLE["cases"] if case["name"] == name)
    changed = {f"{query}-changed": dict.fromkeys(documents, 0) for query, documents in case["changed_qrels"].items()}
    with pytest.raises(BadInputError, match=r"have no run|at least one document"):
        measures.require_runs(changed, case["changed_run"])
        for query, documents in case["changed_qrels"].items():
            measures.p_mrr(case["original_run"][f"{query}-og"], case["changed_run"][f"{query}-changed"], documents)


def test_the_oracles_end_to_end_case() -> None:
    case = _ORACLE["extra"]["e2e"]
    qrels, runs = case["qrels"], case["results"]
    ndcg, average = measures.ndcg(qrels, runs, k=5), measures.mean_average_precision(qrels, runs)
    assert measures.p_mrr(runs["q1-og"], runs["q1-changed"], case["changed_qrels"]["q1"]) == case["p-MRR"]
    for role in ("og", "changed"):
        assert round(ndcg[f"q1-{role}"], 5) == case[role]["ndcg_at_5"]
        assert round(average[f"q1-{role}"], 5) == case[role]["map_at_1000"]


_DOCUMENTS = [f"d{i}" for i in range(8)]
_SCORES = st.dictionaries(st.sampled_from(_DOCUMENTS), st.integers(0, 4).map(float), min_size=1)
_GRADES = st.dictionaries(st.sampled_from(_DOCUMENTS), st.integers(0, 3), min_size=1)


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


@settings(max_examples=40, deadline=None)
@given(topics=st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.tuples(_GRADES, _SCORES), min_size=1))
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ranking_measures_equal_mteb(topics: dict[str, tuple[dict[str, int], dict[str, float]]]) -> None:
    mteb = pytest.importorskip("mteb._evaluators.retrieval_metrics", reason="needs the evaluate extra's mteb")
    qrels = {query: dict(grades) for query, (grades, _) in topics.items()}
    runs = {query: dict(scores) for query, (_, scores) in topics.items()}
    found = mteb.calculate_retrieval_scores(runs, qrels, [3, 10, 1000])
    scores = found[0]
    ours = {
        "ndcg_cut_3": measures.ndcg(qrels, runs, k=3),
        "map_cut_1000": measures.mean_average_precision(qrels, runs),
        "recall_3": measures.recall(qrels, runs, k=3),
    }
    for name, values in ours.items():
        assert values == pytest.approx({query: scores[query][name] for query in qrels}, abs=1e-12)
    rr = mteb.mrr(qrels, runs, [3])["MRR@3"]
    assert measures.reciprocal_rank(qrels, runs, k=3) == pytest.approx(dict(zip(runs, rr, strict=True)))


def _ndcg_by_hand(grades: Mapping[str, int], order: Sequence[str], k: int) -> float:
    def gain(found: Sequence[int]) -> float:
        return sum(grade / log2(position + 1) for position, grade in enumerate(found[:k], start=1))

    ideal = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(document, 0) for document in order]) / ideal if ideal else 0.0


def _average_precision_by_hand(grades: Mapping[str, int], order: Sequence[str]) -> float:
    relevant = {document for document, grade in grades.items() if grade > 0}
    hits = [position for position, document in enumerate(order, start=1) if document in relevant]
    return sum(number / position for number, position in enumerate(hits, start=1)) / max(len(relevant), 1)


@settings(max_examples=150, deadline=None)
@given(grades=_GRADES, run=_SCORES, k=st.integers(1, 9))
def test_ranking_measures_equal_their_textbook_formulas(grades: dict[str, int], run: dict[str, float], k: int) -> None:
    order = sorted(run, key=lambda document: (run[document], document), reverse=True)
    relevant = [document for document, grade in grades.items() if grade > 0]
    ranks = [position for position, document in enumerate(order, start=1) if document in relevant]
    qrels, runs = {"q": grades}, {"q": run}
    assert measures.ndcg(qrels, runs, k=k)["q"] == pytest.approx(_ndcg_by_hand(grades, order, k))
    assert measures.mean_average_precision(qrels, runs)["q"] == pytest.approx(_average_precision_by_hand(grades, order))
    found = sum(rank <= k for rank in ranks)
    assert measures.recall(qrels, runs, k=k)["q"] == pytest.approx(found / max(len(relevant), 1))
    first = min((rank for rank in ranks if rank <= k), default=0)
    assert measures.reciprocal_rank(qrels, runs, k=k)["q"] == pytest.approx(1 / first if first else 0.0)


def test_pairwise_counts_pairs_in_order() -> None:
    run = _run("a", "b", "c", "d")
    assert measures.pairwise(run, ["a", "c"], ["b", "d"]) == 0.75
    assert measures.pairwise(run, ["d"], ["a"]) == 0.0
    assert measures.pairwise(run, ["a"], ["absent"]) == 1.0
    assert measures.pairwise(run, ["absent"], ["absent too"]) == 0.0
    with pytest.raises(BadInputError, match="on either side"):
        measures.pairwise(run, [], ["a"])


def test_preserve_mrr_of_a_model_that_demotes_everything_is_high() -> None:
    original, changed = _run("kept", "gone", "x", "y"), _run("x", "y", "kept", "gone")
    assert measures.p_mrr(original, changed, ["gone"]) == pytest.approx(0.5)
    assert measures.p_mrr(original, changed, ["kept"]) == pytest.approx(2 / 3)


def test_sicr_needs_rank_and_score_to_move_the_right_way() -> None:
    plain = {"a": 0.9, "g": 0.5, "b": 0.4}
    better = {"g": 0.95, "a": 0.9, "b": 0.1}
    worse = {"a": 0.9, "b": 0.6, "g": 0.2}
    assert measures.sicr(plain, better, worse, ["g"]) == 1.0
    assert measures.sicr(plain, worse, better, ["g"]) == 0.0
    assert measures.sicr(plain, {**better, "g": 0.45, "a": 0.4}, worse, ["g"]) == 0.0


def test_sicr_lets_a_document_that_is_first_already_stay_first() -> None:
    plain, worse = {"g": 0.8, "a": 0.5}, {"a": 0.5, "g": 0.3}
    assert measures.sicr(plain, {"g": 0.8, "a": 0.1}, worse, ["g"]) == 1.0
    assert measures.sicr(plain, {"g": 0.7, "a": 0.1}, worse, ["g"]) == 0.0
    assert measures.sicr(plain, {"g": 0.9, "a": 0.1}, {"g": 0.6, "a": 0.5}, ["g"]) == 0.0


def test_sicr_counts_an_absent_gold_document_as_not_followed() -> None:
    plain, better, worse = {"a": 0.9, "g": 0.5}, {"g": 0.95, "a": 0.9}, {"a": 0.9, "b": 0.6, "g": 0.2}
    assert measures.sicr(plain, better, worse, ["g", "absent"]) == 0.5


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ((3, 1, 5), 1.0),
        ((5, 1, 6), 1.0),
        ((6, 1, 9), 1 - 5**0.5 / 20),
        ((6, 2, 9), (1 - 4**0.5 / 20) / 2**0.5),
        ((20, 4, 30), (1 - 16**0.5 / 20) / 4**0.5),
        ((4, 4, 5), 1 / 4**0.5),
        ((30, 5, 40), 0.01),
        ((4, 8, 2), -1.0),
        ((2, 4, 6), -0.5),
        ((4, 4, 4), 0.0),
        ((4, 1, 3), -0.25),
    ],
)
def test_wise_follows_its_cases(ranks: tuple[int, int, int], expected: float) -> None:
    plain, instructed, reversed_ = (_run_with("g", rank) for rank in ranks)
    assert measures.wise(plain, instructed, reversed_, ["g"], n_candidates=6) == pytest.approx(expected)


def test_wise_averages_gold_documents_and_gives_an_absent_one_nothing() -> None:
    plain, instructed, reversed_ = (_run_with("g", rank) for rank in (3, 1, 5))
    assert measures.wise(plain, instructed, reversed_, ["g", "absent"], n_candidates=6) == pytest.approx(0.5)


def test_infosearch_measures_need_a_gold_document() -> None:
    with pytest.raises(BadInputError, match="SICR needs at least one"):
        measures.sicr(_run("a"), _run("a"), _run("a"), [])
    with pytest.raises(BadInputError, match="WISE needs at least one"):
        measures.wise(_run("a"), _run("a"), _run("a"), [], n_candidates=1)


def test_paired_accuracy_needs_both_queries_right() -> None:
    case = _ORACLE["extra"]["nevir_paired_accuracy"]
    recall = {query: value["recall_1"] for query, value in case["recall_1"].items()}
    assert measures.paired_accuracy(recall, [("p1_q1", "p1_q2"), ("p2_q1", "p2_q2")]) == case["expected"] == 0.5


def test_robustness_averages_the_worst_of_each_group() -> None:
    case = _ORACLE["extra"]["instructir_robustness_at_10"]
    values = {query: value["ndcg_cut_10"] for query, value in case["ndcg_cut_10"].items()}
    groups = {query: query.split("_")[0] for query in values}
    assert measures.robustness(values, groups) == pytest.approx(case["expected"])


def test_a_query_without_a_value_is_not_left_out_of_a_group_or_pair() -> None:
    with pytest.raises(BadInputError, match=r"1 of 2 queries have no value \(\['b'\]\)"):
        measures.robustness({"a": 1.0}, {"a": "1", "b": "1"})
    with pytest.raises(BadInputError, match="1 of 2 queries have no value"):
        measures.paired_accuracy({"a": 1.0}, [("a", "b")])
    with pytest.raises(BadInputError, match="0 of 0 queries"):
        measures.paired_accuracy({}, [])


def test_ranking_measures_of_a_case_one_can_check_by_hand() -> None:
    qrels = {"q": {"d": 1, "e": 1}}
    runs = {"q": _run("d", "x", "e", "y")}
    assert measures.ndcg(qrels, runs, k=5)["q"] == pytest.approx(0.91972, abs=1e-5)
    assert measures.mean_average_precision(qrels, runs)["q"] == pytest.approx(0.83333, abs=1e-5)
    assert measures.recall(qrels, runs, k=2)["q"] == 0.5
    assert measures.reciprocal_rank({"q": {"e": 1}}, runs, k=2)["q"] == 0.0
    assert measures.reciprocal_rank({"q": {"e": 1}}, runs, k=3)["q"] == pytest.approx(1 / 3)


def test_a_judged_query_without_a_run_is_a_failure_of_every_measure() -> None:
    qrels, runs = {"q": {"d": 1}, "r": {"d": 1}}, {"q": {"d": 1.0}}
    for measure in (measures.ndcg, measures.recall, measures.reciprocal_rank):
        with pytest.raises(BadInputError, match="1 of 2 judged queries have no run"):
            measure(qrels, runs, k=10)
    with pytest.raises(BadInputError, match="1 of 2 judged queries have no run"):
        measures.mean_average_precision(qrels, runs)


def test_a_judged_query_that_retrieved_nothing_counts_as_zero() -> None:
    assert measures.ndcg({"q": {"d": 1}}, {"q": {}}, k=10) == {"q": 0.0}


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_are_not_numbers_are_refused(score: float) -> None:
    with pytest.raises(BadInputError, match=f"document 'd' for query 'q' is {score}"):
        measures.ndcg({"q": {"d": 1}}, {"q": {"d": score}}, k=10)
