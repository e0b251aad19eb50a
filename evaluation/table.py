"""Reports and decisions as tables on a terminal."""

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from evaluation.gate import Decision, Verdict
from evaluation.report import Estimate, Measure, Report
from evaluation.summary import summarize

_COLUMNS: Mapping[Measure, str] = {
    Measure.P_MRR: "p-MRR",
    Measure.PRESERVE_MRR: "preserve MRR",
    Measure.PAIRWISE: "pairwise accuracy",
    Measure.PLAIN_NDCG: "nDCG@10 plain",
    Measure.NDCG: "nDCG@10 instructed",
    Measure.LIFT: "lift",
}
_CELL_WIDTH = 11
_WIDE = 96
"""Columns of a terminal that holds all measures; a narrower one does without the lift, a difference of two others."""
_STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


def summary_table(report: Report, *, width: int = _WIDE) -> Table:
    """Show the measures a model is chosen by: one suite a row, means of the suites last, times 100.

    `width` is the terminal's, in characters.
    """
    columns = {measure: label for measure, label in _COLUMNS.items() if width >= _WIDE or measure is not Measure.LIFT}
    summary = report.summary or summarize(report)
    model = report.model
    width_of_vectors = "" if model.dimensions is None else f", {model.dimensions} dimensions"
    table = Table(
        title=f"{model.name}, fusion {model.fusion}{width_of_vectors}, digest {model.digest[:12]}",
        caption="times 100, with 95 % intervals over topics",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("suite", no_wrap=True)
    for label in columns.values():
        table.add_column(label, justify="right", min_width=_CELL_WIDTH, overflow="fold")
    for suite, found in summary.suites.items():
        table.add_row(suite, *(_cell(found.get(measure)) for measure in columns))
    table.add_section()
    table.add_row("mean of suites", *(_cell(summary.macro.get(measure)) for measure in columns), style="bold")
    return table


def decision_table(decision: Decision) -> Table:
    """Show every check with its reason, and the verdict."""
    title = Text.assemble(
        (decision.verdict.value, _STYLES[decision.verdict]),
        f"  candidate {decision.candidate_digest[:12]} against champion {decision.champion_digest[:12]}; "
        f"index: {decision.index_action}",
    )
    table = Table(title=title, title_justify="left")
    for column in ("check", "verdict", "reason"):
        table.add_column(column)
    for check in decision.checks:
        table.add_row(check.name, Text(check.verdict.value, style=_STYLES[check.verdict]), Text(check.reason))
    return table


def _cell(found: Estimate | None) -> str:
    if found is None:
        return ""
    mean = f"{found.mean * 100:.1f}"
    if found.low is None or found.high is None:
        return f"{mean}\n[dim]{found.n_topics} topics[/dim]"
    return f"{mean}\n[dim]{found.low * 100:.1f}..{found.high * 100:.1f}[/dim]"
