"""From topic values to means with intervals: what tables and pictures show of a report."""

from collections.abc import Mapping

import numpy as np

from evaluation import statistics
from evaluation.report import Estimate, Measure, Report, Summary
from evaluation.statistics import Values


def summarize(report: Report) -> Summary:
    """Estimate every measure by suite and over suites, and p-MRR by type of instruction."""
    suites = {}
    for scores in report.suites:
        found = {measure: scores.values_of(measure) for measure in Measure}
        suites[scores.suite] = {
            measure: estimate({scores.suite: as_values(values)}) for measure, values in found.items() if values
        }
    strata = {measure: report.strata(measure) for measure in Measure}
    return Summary(
        suites=suites,
        macro={measure: estimate(values) for measure, values in strata.items() if values},
        types={kind: estimate(values) for kind, values in values_by_type(report).items()},
    )


def estimate(strata: Mapping[str, Values]) -> Estimate:
    """Estimate the mean of the strata's means; without an interval where a stratum is too small for one."""
    n_topics = sum(len(values) for values in strata.values())
    if min(len(values) for values in strata.values()) < statistics.FEWEST_TOPICS:
        mean = float(np.mean([values.mean() for values in strata.values()]))
        return Estimate(mean=mean, n_topics=n_topics)
    mean, low, high = statistics.interval(strata)
    return Estimate(mean=mean, low=low, high=high, n_topics=n_topics)


def values_by_type(report: Report) -> dict[str, dict[str, Values]]:
    """Return p-MRR by type of instruction, then by suite."""
    found: dict[str, dict[str, Values]] = {}
    for scores in report.suites:
        for kind in scores.instruction_types:
            found.setdefault(kind, {})[scores.suite] = as_values(scores.values_of_type(kind))
    return dict(sorted(found.items()))


def as_values(by_topic: Mapping[str, float]) -> Values:
    """Return the values of topics as an array, in their order."""
    return np.array(list(by_topic.values()), dtype=np.float64)
