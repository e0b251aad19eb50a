"""Checks made from a value, its interval and the bounds it must keep."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from scipy import stats

from evaluation import statistics
from evaluation.gate import Check, Verdict
from evaluation.statistics import FEWEST_TOPICS, Interval


class Bounds(NamedTuple):
    """Where an interval must lie."""

    at_least: float = -inf
    at_most: float = inf

    def verdict(self, low: float, high: float) -> Verdict:
        """PASS for an interval wholly inside, FAIL for one wholly outside."""
        if self.at_least <= low and high <= self.at_most:
            return Verdict.PASS
        return Verdict.FAIL if high < self.at_least or low > self.at_most else Verdict.INCONCLUSIVE

    def __str__(self) -> str:
        parts = [f"at least {self.at_least:g}"] if self.at_least > -inf else []
        parts += [f"at most {self.at_most:g}"] if self.at_most < inf else []
        return " and ".join(parts)


def make_check(name: str, verdict: Verdict, reason: str, value: float | None = None) -> Check:
    """Make a check; NumPy numbers become plain ones."""
    return Check(name=name, verdict=verdict, reason=reason, value=None if value is None else float(value))


def check_mean(
    name: str, values: Sequence[tuple[str, float | None]], bounds: Bounds, *, confidence: float, what: str
) -> Check:
    """Judge the mean over queries by its bootstrap interval; values of one query are averaged first."""
    real = [(query, value) for query, value in values if value is not None]
    by_query: Mapping[str, float] = statistics.topic_means([v for _, v in real], [query for query, _ in real])
    if len(by_query) < FEWEST_TOPICS:
        reason = f"{what}: {len(by_query)} queries have a value; {FEWEST_TOPICS} are needed"
        return make_check(name, Verdict.INCONCLUSIVE, reason)
    found = statistics.interval({"queries": np.array(list(by_query.values()))}, confidence=2 * confidence - 1)
    return check_interval(name, found, bounds, confidence=confidence, what=what)


def check_interval(name: str, found: Interval, bounds: Bounds, *, confidence: float, what: str) -> Check:
    """Judge a value by its one-sided bounds."""
    reason = (
        f"{what}: {found.mean:.3g}, one-sided {confidence:.0%} bounds {found.low:.3g} to {found.high:.3g}; "
        f"must be {bounds}"
    )
    return make_check(name, bounds.verdict(found.low, found.high), reason, found.mean)


def check_share(name: str, n_bad: int, n: int, *, limit: float, confidence: float, what: str) -> Check:
    """PASS within the limit, FAIL where the exact lower bound is beyond it: one error in fifty proves nothing yet."""
    if n == 0:
        return make_check(name, Verdict.INCONCLUSIVE, f"{what}; there is nothing to judge by")
    exact = stats.binomtest(n_bad, n).proportion_ci(confidence_level=2 * confidence - 1, method="exact")
    verdict = Verdict.PASS if n_bad / n <= limit else Verdict.INCONCLUSIVE
    if exact.low > limit:
        verdict = Verdict.FAIL
    reason = f"{what}: {n_bad / n:.1%}, bounds {exact.low:.1%} to {exact.high:.1%}; at most {limit:.1%} may be"
    return make_check(name, verdict, reason, n_bad / n)
