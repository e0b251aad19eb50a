"""Is a difference real? Paired bootstrap over topics, macro over suites, sign-flip test, Holm's correction.

The unit is the topic: values of one topic's queries are averaged first, so that correlated queries do not count as
independent evidence. A *stratum* is one suite's topics, and the statistic is the mean of the suites' means, whatever
their sizes. Everything is seeded: the same reports give the same decision.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from infembed.errors import BadInputError

Values = npt.NDArray[np.float64]

N_DRAWS = 10_000
SEED = 20_250_521
FEWEST_TOPICS = 10
_BATCH_DRAWS = 500


class Interval(NamedTuple):
    """A mean with its confidence interval; `low` or `high` is infinite for a one-sided one."""

    mean: float
    low: float
    high: float


def macro_mean(strata: Mapping[str, Values]) -> float:
    """Mean of the strata's means."""
    return float(np.mean([values.mean() for values in _checked(strata).values()]))


def interval(strata: Mapping[str, Values], *, confidence: float = 0.95, n_draws: int = N_DRAWS) -> Interval:
    """Two-sided bootstrap interval of the macro mean; topics are drawn within each stratum.

    The percentile bootstrap of a mean is too narrow by sqrt((n-1)/n) and by ignoring that the spread is itself an
    estimate; each stratum's deviations are widened by the ratio of the t to the normal quantile times that factor.
    """
    low, high = _bounds(strata, (1 - confidence) / 2, n_draws)
    return Interval(macro_mean(strata), low, high)


def lower_bound(strata: Mapping[str, Values], *, confidence: float = 0.95, n_draws: int = N_DRAWS) -> float:
    """One-sided bound: the macro mean is above it with this confidence."""
    return _bounds(strata, 1 - confidence, n_draws)[0]


def upper_bound(strata: Mapping[str, Values], *, confidence: float = 0.95, n_draws: int = N_DRAWS) -> float:
    """One-sided bound: the macro mean is below it with this confidence."""
    return _bounds(strata, 1 - confidence, n_draws)[1]


def sign_flip_p_value(differences: Values, *, n_draws: int = N_DRAWS) -> float:
    """One-sided p-value of "the mean difference is above zero" under random signs of the topics' differences."""
    if not np.any(differences):
        return 1.0
    result = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_draws,
        batch=_BATCH_DRAWS,
        alternative="greater",
        rng=np.random.default_rng(SEED),
    )
    return float(result.pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for several tests (Holm's step-down method); never below the original."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    adjusted: dict[str, float] = {}
    running = 0.0
    for position, (name, p_value) in enumerate(ordered):
        running = max(running, min(1.0, (len(ordered) - position) * p_value))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def topic_means(values: Sequence[float], topics: Sequence[str]) -> dict[str, float]:
    """Average the values of each topic; order of first appearance."""
    groups: dict[str, list[float]] = {}
    for value, topic in zip(values, topics, strict=True):
        groups.setdefault(topic, []).append(value)
    return {topic: float(np.mean(group)) for topic, group in groups.items()}


def paired_differences(champion: Mapping[str, float], candidate: Mapping[str, float]) -> Values:
    """Candidate minus champion, topic by topic; both must have scored the same topics."""
    if champion.keys() != candidate.keys():
        only = sorted(champion.keys() ^ candidate.keys())
        raise BadInputError(
            f"champion and candidate scored different topics ({len(only)} on one side only, first {only[0]!r}); "
            "score both on the same suite"
        )
    return np.array([candidate[topic] - champion[topic] for topic in champion], dtype=np.float64)


def _bounds(strata: Mapping[str, Values], tail: float, n_draws: int) -> tuple[float, float]:
    arrays = _checked(strata)
    rng = np.random.default_rng(SEED)
    centre = macro_mean(strata)
    drawn = np.zeros(n_draws)
    for values in arrays.values():
        deviations = values - values.mean()
        n = len(values)
        widening = np.sqrt(n / (n - 1)) * stats.t.ppf(1 - tail, n - 1) / stats.norm.ppf(1 - tail)
        for start in range(0, n_draws, _BATCH_DRAWS):
            rows = min(_BATCH_DRAWS, n_draws - start)
            means = deviations[rng.integers(n, size=(rows, n))].mean(axis=1)
            drawn[start : start + rows] += widening * means / len(arrays)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return centre + float(low), centre + float(high)


def _checked(strata: Mapping[str, Values]) -> Mapping[str, Values]:
    if not strata:
        raise BadInputError("no suite to compare")
    for name, values in strata.items():
        if len(values) < FEWEST_TOPICS:
            raise BadInputError(f"suite {name!r} has {len(values)} topics, statistics need at least {FEWEST_TOPICS}")
        if not np.isfinite(values).all():
            raise BadInputError(f"suite {name!r} has values that are not finite")
    return strata
