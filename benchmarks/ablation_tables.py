"""Tables and the picture of the ablations in docs/ablations.md, from one report a variant."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.ablation_variants import CONFIGURED, DERIVED, HELD_OUT_SOURCES, HELD_OUT_TYPES, slug, without
from benchmarks.tables import cell, use_plain_fonts
from evaluation.report import Estimate, Measure, Report, Summary, TopicScores
from evaluation.statistics import Values, paired_differences
from evaluation.summary import estimate, summarize
from infembed.inputs import Fusion

SHOWN = (Measure.P_MRR, Measure.PRESERVE_MRR, Measure.PAIRWISE, Measure.NDCG, Measure.PLAIN_NDCG, Measure.LIFT)
COSTS = {"training_s": "s of steps", "query_ms": "ms a query in torch"}
DRAWN = (Measure.P_MRR, Measure.PAIRWISE, Measure.NDCG)


def means_table(reports: Mapping[str, Report]) -> list[str]:
    """Means of all suites that have a measure, p-MRR beside the run as configured, and what a variant costs."""
    configured = reports.get(CONFIGURED)
    rows = {}
    for name, report in reports.items():
        macro = _summary(report).macro
        beside = ""
        if configured is not None and report is not configured:
            beside = cell(estimate(differences(configured, report)))
        costs = [str(report.notes.get(key, "")) for key in COSTS]
        rows[name] = [beside, *(cell(macro.get(measure)) for measure in SHOWN), *costs]
    return _grid("variant", [f"{Measure.P_MRR} beside {CONFIGURED}", *SHOWN, *COSTS.values()], rows)


def differences(first: Report, second: Report, measure: Measure = Measure.P_MRR) -> dict[str, Values]:
    """Return second minus first by suite, topic by topic: far tighter than two intervals side by side."""
    by_suite = [{s.suite: v for s in report.suites if (v := s.values_of(measure))} for report in (first, second)]
    return _paired(*by_suite)


def suite_table(reports: Mapping[str, Report], measure: Measure = Measure.P_MRR) -> list[str]:
    """One measure by suite, means without intervals."""
    suites = {name: _summary(report).suites for name, report in reports.items()}
    found = {name: {suite: of[measure] for suite, of in by.items() if measure in of} for name, by in suites.items()}
    return _means_grid(found)


def type_table(reports: Mapping[str, Report]) -> list[str]:
    """p-MRR by type of the changed instruction, means without intervals."""
    return _means_grid({name: _summary(report).types for name, report in reports.items()})


def held_out_table(reports: Mapping[str, Report]) -> list[str]:
    """What models trained without rows of a type or a source make of it, topic by topic beside those trained with."""
    shown = {name: reports[name] for name in (f"untrained {Fusion.PREFIX}", CONFIGURED) if name in reports}
    rows = {}
    for names in (*HELD_OUT_TYPES, *HELD_OUT_SOURCES):
        if (report := reports.get(without(names))) is None:
            continue
        for measure in (Measure.P_MRR, Measure.PAIRWISE):
            held_out = held_out_topics(report, names, measure)
            if not held_out:
                continue
            others = [held_out_topics(one, names, measure) for one in shown.values()]
            beside = [_paired(other, held_out) for other in others]
            cells = [cell(estimate(_values(one))) for one in (*others, held_out)] + [cell(estimate(d)) for d in beside]
            rows[f"{', '.join(names)}: {measure}"] = [str(sum(map(len, held_out.values()))), *cells]
    columns = ["topics", *shown, "without its rows", *(f"without its rows, beside {name}" for name in shown)]
    return _grid("held out", columns, rows)


def held_out_topics(report: Report, names: Sequence[str], measure: Measure) -> dict[str, dict[str, float]]:
    """Return a measure by suite and topic, for what was held out: types, or the suites of a source.

    p-MRR is known by type; of other measures those topics are taken whose changed instructions are all of the types.
    """
    prefixes = tuple(slug(name) for name in names)
    found = {}
    for scores in report.suites:
        source = scores.suite.removeprefix("dev-")
        for part in DERIVED:
            source = source.removeprefix(f"{part}_")
        of_type = partial(_of_types, names=names, measure=measure)
        value_of = partial(_value, measure=measure) if source.startswith(prefixes) else of_type
        values = {topic.topic: value for topic in scores.topics if (value := value_of(topic)) is not None}
        if values:
            found[scores.suite] = values
    return found


def _value(topic: TopicScores, measure: Measure) -> float | None:
    return topic.values.get(measure)


def _of_types(topic: TopicScores, names: Sequence[str], measure: Measure) -> float | None:
    if measure is Measure.P_MRR:
        found = [value for kind, value in topic.by_type.items() if kind in names]
        return sum(found) / len(found) if found else None
    return topic.values.get(measure) if topic.by_type and set(topic.by_type) <= set(names) else None


def _values(by_suite: Mapping[str, Mapping[str, float]]) -> dict[str, Values]:
    return {suite: np.array(list(values.values())) for suite, values in by_suite.items()}


def _paired(first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]]) -> dict[str, Values]:
    return {suite: paired_differences(first[suite], values) for suite, values in second.items()}


def draw(reports: Mapping[str, Report], path: Path) -> None:
    """Draw the means with intervals: a row a variant, a panel a measure."""
    use_plain_fonts()
    figure, panels = plt.subplots(
        1, len(DRAWN), figsize=(10, 0.27 * len(reports) + 1), sharey=True, layout="constrained", squeeze=False
    )
    places = np.arange(len(reports))
    for axes, measure in zip(panels[0], DRAWN, strict=True):
        found = [_summary(report).macro[measure] for report in reports.values()]
        means = np.array([one.mean for one in found]) * 100
        low = np.array([one.mean if one.low is None else one.low for one in found]) * 100
        high = np.array([one.mean if one.high is None else one.high for one in found]) * 100
        axes.errorbar(means, places, xerr=[means - low, high - means], fmt="o", markersize=4, capsize=2)
        if CONFIGURED in reports:
            axes.axvline(means[list(reports).index(CONFIGURED)], color="0.7", linewidth=1)
        axes.set_xlabel(f"{measure} x 100")
    panels[0][0].set_yticks(places, list(reports))
    panels[0][0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _means_grid(found: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    columns = list(dict.fromkeys(column for values in found.values() for column in values))
    rows = {
        name: [f"{values[column].mean * 100:.1f}" if column in values else "" for column in columns]
        for name, values in found.items()
    }
    return _grid("variant", columns, rows)


def _grid(first: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"| {first} | " + " | ".join(columns) + " |",
        "|---" + "|---:" * len(columns) + "|",
        *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()),
    ]


def _summary(report: Report) -> Summary:
    return report.summary or summarize(report)
