from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.canary.observations import Role
from evaluation.canary.pairs import (
    Latencies,
    latencies,
    live_p_mrr,
    overlap,
    rank_correlation,
    score_drift,
    sensitivity,
)
from tests.evaluation.canary.observed import answer, failure, probe, shadows


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("abcd", "abcd", 1), ("abcd", "dcba", 1), ("abcd", "abxy", 0.5), ("abcd", "ab", 0.5), ("ab", "", 0), ("", "", 1)],
)
def test_overlap_is_the_share_of_the_longer_list(first: str, second: str, expected: float) -> None:
    assert overlap(answer(first), answer(second), k=4) == expected
    assert overlap(answer(second), answer(first), k=4) == expected


def test_overlap_looks_no_deeper_than_k() -> None:
    assert overlap(answer("abcdef"), answer("abfedc"), k=2) == 1
    assert overlap(answer("abcdef"), answer("abfedc"), k=3) == pytest.approx(2 / 3)


@settings(max_examples=40, deadline=None)
@given(st.permutations("abcdefg"), st.permutations("cdefghi"))
def test_rank_correlation_counts_the_pairs_in_order(first: list[str], second: list[str]) -> None:
    common = [document for document in first if document in second]
    signs = [1 if second.index(a) < second.index(b) else -1 for a, b in combinations(common, 2)]
    assert rank_correlation(answer(first), answer(second), k=7) == pytest.approx(sum(signs) / len(signs))


def test_fewer_than_three_common_documents_have_no_rank_correlation() -> None:
    assert rank_correlation(answer("abxy"), answer("abvw"), k=4) is None


def test_score_drift_compares_the_best_scores() -> None:
    assert score_drift(answer("ab", best=0.5), answer("cd", best=0.75)) == 0.25
    assert score_drift(answer(""), answer("cd")) is None


def test_live_p_mrr_follows_the_withdrawn_documents_on_both_services() -> None:
    stable = (answer("abcdef"), answer("acdebf"))  # b falls from 2 to 5
    candidate = (answer("acdebf"), answer("abcdef"))  # b rises from 5 to 2
    (scores,) = live_p_mrr([probe(stable, candidate, withdrawn="b")])
    assert (scores.stable, scores.candidate) == pytest.approx((0.6, -0.6))


def test_the_length_of_an_answer_moves_no_document() -> None:
    """Absent from both of its answers, a document would seem to rise from rank 7 to rank 4."""
    shorter = (answer("abcdef"), answer("abc"))
    shows_it = (answer("xyz"), answer("yzx"))
    (scores,) = live_p_mrr([probe(shorter, shows_it, withdrawn="x")])
    assert scores.stable == 0
    assert scores.candidate == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("lost", range(4))
def test_a_probe_with_a_failed_search_is_left_out(lost: int) -> None:
    outcomes = [failure() if number == lost else answer("abc") for number in range(4)]
    seen = [probe((outcomes[0], outcomes[1]), (outcomes[2], outcomes[3]), withdrawn="a")]
    assert live_p_mrr(seen) == []


def test_sensitivity_is_the_share_of_exchanged_documents() -> None:
    seen = [
        probe((answer("abcd"), answer("abxy")), (answer("abcd"), answer("abcd"))),
        probe((answer("abcd"), answer("abcd")), (answer("abcd"), failure())),
    ]
    assert sensitivity(seen, Role.STABLE, k=4) == 0.25
    assert sensitivity(seen, Role.CANDIDATE, k=4) == 0
    assert sensitivity([], Role.STABLE, k=4) is None


def test_the_ratio_of_a_quantile_draws_pairs_together() -> None:
    """Noise that hits both alike cancels: every draw of pairs gives the same ratio."""
    stable = np.random.default_rng(0).lognormal(2, 1, size=40)
    found = Latencies(stable, stable * 1.5).quantile_ratio(0.95, confidence=0.95)
    assert found == pytest.approx((1.5, 1.5, 1.5))


def test_the_bounds_of_a_ratio_are_those_of_numpy_draws() -> None:
    rng = np.random.default_rng(3)
    stable, candidate = rng.lognormal(2, 0.5, size=80), rng.lognormal(2.1, 0.5, size=80)
    rows = rng.integers(80, size=(10_000, 80))
    drawn = np.median(candidate[rows], axis=1) / np.median(stable[rows], axis=1)
    found = Latencies(stable, candidate).quantile_ratio(0.5, confidence=0.9)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.1, 0.9])), rel=0.02)


def test_latencies_leave_out_the_warm_up_probes_and_failures() -> None:
    seen = (
        probe((answer("a"), answer("a")), (answer("a"), answer("a"))),
        *shadows(lambda i: answer("a", latency_ms=i), lambda i: failure() if i == 3 else answer("a"), n=5),
    )
    assert latencies(seen, skip=2).stable.tolist() == [2, 4]
