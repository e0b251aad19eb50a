"""Tables and the picture of the ablations in docs/results.md, from one report a variant."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.ablation_variants import CONFIGURED, DERIVED, HELD_OUT_SOURCES, HELD_OUT_TYPES, slug, without
from benchmarks.tables import cell, use_plain_fonts
from evaluation.report import Estimate, Measure, Report, Summary
from evaluation.statistics import Values
from evaluation.summary import estimate, summarize
from infembed.inputs import Fusion

SHOWN = (Measure.P_MRR, Measure.PRESERVE_MRR, Measure.PAIRWISE, Measure.NDCG, Measure.PLAIN_NDCG, Measure.LIFT)
COSTS = {"training_s": "training s", "query_ms": "ms a query"}
DRAWN = (Measure.P_MRR, Measure.PAIRWISE, Measure.NDCG)


def means_table(reports: Mapping[str, Report]) -> list[str]:
    """Means of all suites that have a measure, and what a variant costs."""
    rows = {}
    for name, report in reports.items():
        macro = _summary(report).macro
        rows[name] = [cell(macro.get(measure)) for measure in SHOWN] + [str(report.notes.get(key, "")) for key in COSTS]
    return _grid("variant", [*SHOWN, *COSTS.values()], rows)


def suite_table(reports: Mapping[str, Report], measure: Measure = Measure.P_MRR) -> list[str]:
    """One measure by suite, means without intervals."""
    suites = {name: _summary(report).suites for name, report in reports.items()}
    found = {name: {suite: of[measure] for suite, of in by.items() if measure in of} for name, by in suites.items()}
    return _means_grid(found)


def type_table(reports: Mapping[str, Report]) -> list[str]:
    """p-MRR by type of the changed instruction, means without intervals."""
    return _means_grid({name: _summary(report).types for name, report in reports.items()})


def held_out_table(reports: Mapping[str, Report]) -> list[str]:
    """What models that never saw a type or a source make of it, beside the model that did."""
    shown = {name: reports[name] for name in (f"untrained {Fusion.PREFIX}", CONFIGURED) if name in reports}
    rows = {}
    for names in (*HELD_OUT_TYPES, *HELD_OUT_SOURCES):
        if (report := reports.get(without(names))) is None:
            continue
        for measure in (Measure.P_MRR, Measure.PAIRWISE):
            found = [held_out_values(one, names, measure) for one in (*shown.values(), report)]
            if found[-1]:
                n_topics = sum(map(len, found[-1].values()))
                rows[f"{', '.join(names)}: {measure}"] = [str(n_topics), *(cell(estimate(one)) for one in found)]
    return _grid("held out", ["topics", *shown, "never saw it"], rows)


def held_out_values(report: Report, names: Sequence[str], measure: Measure) -> dict[str, Values]:
    """Return a measure by suite for topics whose instructions are all of the types, or whose suite is of a source."""
    prefixes = tuple(slug(name) for name in names)
    found = {}
    for scores in report.suites:
        source = scores.suite.removeprefix("dev-")
        for part in DERIVED:
            source = source.removeprefix(f"{part}_")
        is_source = source.startswith(prefixes)
        values = [
            topic.values[measure]
            for topic in scores.topics
            if measure in topic.values and (is_source or (topic.by_type and set(topic.by_type) <= set(names)))
        ]
        if values:
            found[scores.suite] = np.array(values)
    return found


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
