from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.gate_power import SHAPES, coverage
from evaluation import statistics
from evaluation.statistics import Values
from infembed.errors import BadInputError


def _sample(n: int = 30, *, seed: int = 0) -> Values:
    return np.random.default_rng(seed).exponential(0.3, n) - 0.1


def _studentized_by_loop(values: Values, tail: float, n_draws: int) -> tuple[float, float]:
    """The textbook's bootstrap-t, one draw after the other."""
    rng = np.random.default_rng(5)
    error = stats.sem(values)
    scores = []
    for _ in range(n_draws):
        drawn = rng.choice(values, size=len(values))
        spread = drawn.std(ddof=1) / len(drawn) ** 0.5
        scores.append((drawn.mean() - values.mean()) / max(spread, 0.25 * error))
    low, high = np.quantile(scores, [tail, 1 - tail])
    return values.mean() - high * error, values.mean() - low * error


def test_an_interval_is_the_textbooks_bootstrap_t() -> None:
    values = _sample()
    found = statistics.interval({"suite": values})
    assert (found.low, found.high) == pytest.approx(_studentized_by_loop(values, 0.025, 10_000), abs=0.02)
    assert found.mean == values.mean()


def test_an_interval_of_many_topics_is_scipys_bootstrap() -> None:
    values = _sample(2000)
    oracle = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(1)).confidence_interval
    found = statistics.interval({"suite": values})
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.001)


def test_an_interval_over_suites_of_normal_values_is_welchs() -> None:
    """For the mean of two means Welch's t is the classic answer; both estimate the same thing here."""
    rng = np.random.default_rng(2)
    one, two = rng.normal(0.1, 0.2, 40), rng.normal(-0.1, 0.4, 200)
    found = statistics.interval({"one": one, "two": two})
    oracle = stats.ttest_ind(one, -two, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((oracle.low / 2, oracle.high / 2), abs=0.004)


def test_every_suite_weighs_the_same_whatever_its_size() -> None:
    assert statistics.macro_mean({"small": np.zeros(10), "large": np.ones(1000)}) == 0.5


def test_the_same_values_give_the_same_interval_in_any_order_of_suites() -> None:
    one, two = _sample(20), _sample(50, seed=1)
    assert statistics.interval({"a": one, "b": two}) == statistics.interval({"b": two, "a": one})


def test_suites_of_the_same_size_are_drawn_independently() -> None:
    """Shared draws would add up as if the suites were one: opposite suites would have no noise at all."""
    values = _sample(40)
    found = statistics.interval({"one": values, "opposite": -values})
    assert found.high - found.low > 0.05


def test_one_sided_bounds_are_those_of_a_wider_tail() -> None:
    values = {"suite": _sample()}
    assert statistics.one_sided(values, confidence=0.95) == pytest.approx(statistics.interval(values, confidence=0.9))


def test_equal_values_have_an_interval_without_width() -> None:
    assert statistics.interval({"suite": np.zeros(20)}) == (0, 0, 0)
    found = statistics.interval({"suite": np.full(20, 0.1)})
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_heavily_tied_values_have_a_finite_interval() -> None:
    found = statistics.interval({"suite": np.array([0.0] * 19 + [0.5])})
    assert -0.1 < found.low < 0 < found.high < 0.5


@given(st.lists(st.floats(-1, 1), min_size=10, max_size=12))
@settings(max_examples=20, deadline=None)
def test_an_exact_sign_flip_test_tries_every_sign(values: list[float]) -> None:
    observed = np.array(values)
    flipped = [np.dot(signs, observed) for signs in product([1, -1], repeat=len(values))]
    expected = np.mean(np.array(flipped) >= observed.sum() - 1e-12 * np.abs(observed).sum())
    assert statistics.sign_flip_p_value({"suite": observed}) == pytest.approx(expected)


def test_an_exact_sign_flip_test_is_scipys() -> None:
    values = np.round(np.random.default_rng(3).normal(0.1, 0.3, 12), 2)
    oracle = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert statistics.sign_flip_p_value({"suite": values}) == oracle.pvalue


def test_a_random_sign_flip_test_is_close_to_scipys() -> None:
    values = np.random.default_rng(4).normal(0.05, 0.3, 60)
    oracle = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", alternative="greater", rng=np.random.default_rng(5)
    )
    found = statistics.sign_flip_p_value({"suite": values}, n_draws=100_000)
    assert found == pytest.approx(oracle.pvalue, abs=0.015), "both are estimates, from other signs"


def test_a_sign_flip_test_over_suites_weighs_suites_and_not_topics() -> None:
    """Ten topics that gain outweigh a hundred that lose a little, as they do in the macro mean."""
    strata = {"gains": np.full(10, 0.5), "loses": np.full(100, -0.1)}
    assert statistics.macro_mean(strata) > 0
    assert statistics.sign_flip_p_value(strata) < 0.01
    assert statistics.sign_flip_p_value(strata, above=0.3) > 0.9


def test_no_difference_at_all_is_no_evidence() -> None:
    assert statistics.sign_flip_p_value({"suite": np.zeros(40)}) == 1.0
    assert statistics.sign_flip_p_value({"suite": np.zeros(40)}, above=-0.02) < 0.001


def test_holm_adjusts_a_case_computed_by_hand() -> None:
    """4 x 0.005, 3 x 0.01, then 2 x 0.03 and 1 x 0.04, which may not come out below the one before."""
    found = statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(found) == ["a", "b", "c", "d"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_definition_rejects(p_values: list[float]) -> None:
    """Step down while p(i) <= alpha / (m - i): an adjusted p-value is at most alpha exactly for those rejected."""
    adjusted = statistics.holm({str(number): p_value for number, p_value in enumerate(p_values)})
    for alpha in (0.013, 0.052, 0.21):
        rejected, m = set(), len(p_values)
        for place, number in enumerate(sorted(range(m), key=p_values.__getitem__)):
            if p_values[number] * (m - place) > alpha:
                break
            rejected.add(str(number))
        assert {name for name, p_value in adjusted.items() if p_value <= alpha} == rejected


def test_values_of_one_topic_count_once() -> None:
    assert statistics.topic_means([1, 2, 6], ["a", "b", "a"]) == {"a": 3.5, "b": 2.0}


def test_differences_are_paired_by_topic() -> None:
    found = statistics.paired_differences({"a": 0.1, "b": 0.2}, {"b": 0.5, "a": 0.1})
    assert found == pytest.approx([0.0, 0.3])
    with pytest.raises(BadInputError, match="1 on one side only, first 'c'"):
        statistics.paired_differences({"a": 0.1}, {"a": 0.1, "c": 0.2})


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        ({}, "no suite to compare"),
        ({"tiny": np.zeros(9)}, "'tiny' has 9 topics, statistics need at least 10"),
        ({"broken": np.array([np.nan] * 10)}, "'broken' has values that are not finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(strata: dict[str, Values], message: str) -> None:
    for statistic in (statistics.interval, statistics.sign_flip_p_value, statistics.macro_mean):
        with pytest.raises(BadInputError, match=message):
            statistic(strata)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sizes", [(20,), (100,), (16, 60, 250)])
def test_the_interval_covers_the_truth_as_often_as_it_says(shape: str, sizes: tuple[int, ...]) -> None:
    found = coverage(shape, sizes, n_samples=1000, n_draws=2000)
    assert found.covered + 1.5 * found.noise >= 0.93
    assert found.covered - 1.5 * found.noise <= 0.97
