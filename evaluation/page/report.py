"""One model's report as a page."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from evaluation.page.drawing import Words
from evaluation.page.figures import Named, Point, Row, forest, scatter
from evaluation.page.html import render_page
from evaluation.page.words import TIMES_100, aloud
from evaluation.report import Estimate, Measure, Report, Summary, TopicMoves
from evaluation.summary import summarize

N_TOPICS = 10
P_MRR_AXIS = f"p-MRR {TIMES_100}, with 95 % intervals over topics"


class Topic(NamedTuple):
    """A topic worth looking at, and the suite it comes from."""

    suite: str
    moves: TopicMoves


def report_page(report: Report) -> str:
    """Write a report as one HTML page that needs nothing else."""
    summary = report.summary or summarize(report)
    return render_page(
        "report.html.j2",
        title=f"{report.model.name}: evaluation",
        report=report,
        summary=summary,
        figures=report_figures(summary),
        topics=extreme_topics(report),
    )


def report_figures(summary: Summary) -> dict[str, Markup]:
    """Draw what a summary has; suites without changed instructions have no p-MRR and those without any no lift."""
    figures = {}
    if Measure.P_MRR in summary.macro:
        figures["suites"] = _by_suite(summary)
        figures["types"] = _by_type(summary)
    if Measure.LIFT in summary.macro:
        figures["lift"] = _lift(summary)
    return figures


def extreme_topics(report: Report) -> dict[str, list[Topic]]:
    """Return the ten best topics of all suites, best first, and the ten worst, worst first; none is in both."""
    every = [Topic(scores.suite, moves) for scores in report.suites for moves in scores.moves]
    every.sort(key=lambda topic: -topic.moves.p_mrr)
    n = min(N_TOPICS, len(every) // 2)
    return {"best": every[:n], "worst": every[::-1][:n]}


def estimates_of(summary: Summary, measure: Measure) -> dict[str, Estimate]:
    """Return one measure by suite, for suites that have it."""
    return {suite: found[measure] for suite, found in summary.suites.items() if measure in found}


def said(rows: Sequence[Row]) -> str:
    """Say a forest plot in words."""
    return "; ".join(aloud(row.label, row.estimate) for row in rows) + "."


def _by_suite(summary: Summary) -> Markup:
    shuffled = estimates_of(summary, Measure.SHUFFLED_P_MRR)
    rows = [Row(suite, found, shuffled.get(suite)) for suite, found in estimates_of(summary, Measure.P_MRR).items()]
    mean = Row("mean of suites", summary.macro[Measure.P_MRR], summary.macro.get(Measure.SHUFFLED_P_MRR), is_mean=True)
    rows.append(mean)
    names = Named("the topic's own instruction", "another topic's instruction (control)")
    return forest(Words("suites", "p-MRR by suite", said(rows)), rows, names=names, axis=P_MRR_AXIS)


def _by_type(summary: Summary) -> Markup:
    rows = [Row(kind, found) for kind, found in summary.types.items()]
    words = Words("types", "p-MRR by type of instruction", said(rows))
    return forest(words, rows, names=Named("p-MRR"), axis=P_MRR_AXIS)


def _lift(summary: Summary) -> Markup:
    plain = estimates_of(summary, Measure.PLAIN_NDCG)
    lifts = estimates_of(summary, Measure.LIFT)
    points = [Point(suite, plain[suite], lift) for suite, lift in lifts.items()]
    description = "; ".join(
        f"{aloud(point.label, point.y)} at a plain nDCG@10 of {point.x.mean * 100:.1f}" for point in points
    )
    return scatter(
        Words("lift", "Instruction lift against quality", description + "."),
        points,
        x_axis=f"nDCG@10 {TIMES_100} of plain queries",
        y_axis=f"instruction lift {TIMES_100}",
    )
