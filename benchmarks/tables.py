"""Tables and pictures of docs/results.md from reports of several models.

python -m benchmarks.tables NAME=REPORT.json ... [--picture docs/pictures/results.svg]
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from evaluation.report import Estimate, Measure, Report, Summary, load_report
from evaluation.summary import estimate, summarize, values_by_type

SHOWN = (Measure.P_MRR, Measure.PRESERVE_MRR, Measure.PAIRWISE, Measure.LIFT, Measure.NDCG, Measure.PLAIN_NDCG)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", metavar="NAME=REPORT", help="in the order of the columns")
    parser.add_argument("--picture", type=Path, help="write p-MRR by suite here, as SVG")
    arguments = parser.parse_args()
    reports = {name: load_report(Path(path)) for name, _, path in (pair.partition("=") for pair in arguments.reports)}
    for measure in SHOWN:
        print("\n".join(by_suite(measure, reports)), end="\n\n")
    print("\n".join(by_type(reports)))
    if arguments.picture:
        draw(reports, arguments.picture)


def by_suite(measure: Measure, reports: Mapping[str, Report]) -> list[str]:
    """One row a suite that has the measure, one column a model, and the mean of suites."""
    summaries = {name: _summary(report) for name, report in reports.items()}
    lines = [f"### {measure}", "", *_head("suite", list(reports))]
    lines += [
        _row(suite, [summary.suites[suite].get(measure) for summary in summaries.values()])
        for suite in _suites(measure, summaries)
    ]
    return [*lines, _row("**mean of suites**", [summary.macro.get(measure) for summary in summaries.values()])]


def by_type(reports: Mapping[str, Report]) -> list[str]:
    """p-MRR of the changed instruction's type in each suite, with the number of topics."""
    values = {name: values_by_type(report) for name, report in reports.items()}
    first = next(iter(values.values()))
    lines = ["### p-MRR by type of the changed instruction (topics)", "", *_head("suite, type", list(reports))]
    for suite, kind in sorted((suite, kind) for kind, found in first.items() for suite in found):
        n_topics = len(first[kind][suite])
        cells = [estimate({suite: found[kind][suite]}) for found in values.values()]
        lines.append(_row(f"{suite}, {kind} ({n_topics})", cells))
    return lines


def cell(found: Estimate | None) -> str:
    """Write a mean, times 100, with its interval."""
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.mean * 100:.1f}"
    return f"{found.mean * 100:.1f} [{found.low * 100:.1f}, {found.high * 100:.1f}]"


def draw(reports: Mapping[str, Report], path: Path) -> None:
    """Draw p-MRR with intervals: a row a suite, a mark a model."""
    use_plain_fonts()
    summaries = {name: _summary(report) for name, report in reports.items()}
    suites = [*_suites(Measure.P_MRR, summaries), "mean of suites"]
    figure, axes = plt.subplots(figsize=(7.5, 0.65 * len(suites) + 1.2), layout="constrained")
    offsets = np.linspace(-0.25, 0.25, len(reports))
    for offset, (name, summary) in zip(offsets, summaries.items(), strict=True):
        found = [summary.macro if suite == suites[-1] else summary.suites[suite] for suite in suites]
        estimates = [one[Measure.P_MRR] for one in found]
        means = np.array([one.mean for one in estimates]) * 100
        low = np.array([one.mean if one.low is None else one.low for one in estimates]) * 100
        high = np.array([one.mean if one.high is None else one.high for one in estimates]) * 100
        places = np.arange(len(suites)) - offset
        axes.errorbar(means, places, xerr=[means - low, high - means], fmt="o", markersize=4, capsize=2, label=name)
    axes.axvline(0, color="0.7", linewidth=1)
    axes.set_yticks(range(len(suites)), suites)
    axes.invert_yaxis()
    axes.set_xlabel("p-MRR x 100, 95 % interval over topics")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def use_plain_fonts() -> None:
    """Write text of pictures as text, and the same picture as the same bytes."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "inf-embed", "font.family": "sans-serif"})


def _head(first: str, names: Sequence[str]) -> list[str]:
    return [f"| {first} | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]


def _row(name: str, cells: Sequence[Estimate | None]) -> str:
    return f"| {name} | " + " | ".join(map(cell, cells)) + " |"


def _suites(measure: Measure, summaries: Mapping[str, Summary]) -> list[str]:
    found = [suite for summary in summaries.values() for suite, values in summary.suites.items() if measure in values]
    return list(dict.fromkeys(found))


def _summary(report: Report) -> Summary:
    return report.summary or summarize(report)


if __name__ == "__main__":
    main()
