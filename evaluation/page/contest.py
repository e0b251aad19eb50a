"""Champion against candidate as a page: the decision, and every difference it rests on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from evaluation.gate import Decision
from evaluation.page.drawing import Words
from evaluation.page.figures import Named, Row, forest
from evaluation.page.html import render_page
from evaluation.page.report import extreme_topics, report_figures, said
from evaluation.page.words import TIMES_100
from evaluation.report import Estimate, Measure, Report
from evaluation.statistics import Values, paired_differences
from evaluation.summary import estimate, summarize


@dataclass(frozen=True)
class Difference:
    """One measure of both models, and candidate minus champion over the same topics."""

    measure: Measure
    champion: float
    candidate: float
    estimate: Estimate


def contest_page(champion: Report, candidate: Report, decision: Decision) -> str:
    """Write a decision as one HTML page that needs nothing else."""
    summary = candidate.summary or summarize(candidate)
    return render_page(
        "contest.html.j2",
        title=f"{decision.verdict}: {candidate.model.name} against {champion.model.name}",
        champion=champion,
        candidate=candidate,
        decision=decision,
        figures=_figures(champion, candidate, decision) | report_figures(summary),
        differences={scores.suite: _differences(champion, candidate, scores.suite) for scores in candidate.suites},
        topics=extreme_topics(candidate),
        summary=summary,
    )


def _figures(champion: Report, candidate: Report, decision: Decision) -> dict[str, Markup]:
    names = Named("queries as written", "plain queries")
    figures = {}
    p_mrr = list(_p_mrr_rows(champion, candidate))
    if p_mrr:
        words = Words("p-mrr-change", "p-MRR, candidate minus champion", said(p_mrr))
        axis = f"p-MRR {TIMES_100}, candidate minus champion"
        figures["p_mrr_change"] = forest(words, p_mrr, names=names, axis=axis)
    quality = list(_quality_rows(champion, candidate))
    if quality:
        words = Words("quality-change", "nDCG@10, candidate minus champion", said(quality))
        figures["quality_change"] = forest(
            words,
            quality,
            names=names,
            axis=f"nDCG@10 {TIMES_100}, candidate minus champion",
            band=decision.policy.ndcg_margin,
        )
    return figures


def _p_mrr_rows(champion: Report, candidate: Report) -> Iterator[Row]:
    by_suite = _changes(champion, candidate, Measure.P_MRR)
    for suite, values in by_suite.items():
        yield Row(suite, estimate({suite: values}))
    if by_suite:
        yield Row("mean of suites", estimate(by_suite), is_mean=True)
    for kind in sorted({kind for scores in candidate.suites for kind in scores.instruction_types}):
        values_of_kind = {}
        for suite in by_suite:
            before, after = (report.suite(suite).values_of_type(kind) for report in (champion, candidate))
            if before and before.keys() == after.keys():
                values_of_kind[suite] = paired_differences(before, after)
        if values_of_kind:
            yield Row(f"type {kind}", estimate(values_of_kind))


def _quality_rows(champion: Report, candidate: Report) -> Iterator[Row]:
    written = _changes(champion, candidate, Measure.NDCG)
    plain = _changes(champion, candidate, Measure.PLAIN_NDCG)
    for suite in (suite for suite in written if suite in plain):
        yield Row(suite, estimate({suite: written[suite]}), estimate({suite: plain[suite]}))
    if written and plain:
        yield Row("mean of suites", estimate(written), estimate(plain), is_mean=True)


def _changes(champion: Report, candidate: Report, measure: Measure) -> Mapping[str, Values]:
    """Return candidate minus champion by suite; a suite whose topics are not the same in both has no difference."""
    changes = {}
    theirs = {scores.suite: scores.values_of(measure) for scores in champion.suites}
    for scores in candidate.suites:
        before, after = theirs.get(scores.suite, {}), scores.values_of(measure)
        if before and before.keys() == after.keys():
            changes[scores.suite] = paired_differences(before, after)
    return changes


def _differences(champion: Report, candidate: Report, suite: str) -> list[Difference]:
    found = []
    for measure in Measure:
        before, after = (report.suite(suite).values_of(measure) for report in (champion, candidate))
        if before and before.keys() == after.keys():
            mean_before, mean_after = (sum(values.values()) / len(values) for values in (before, after))
            change = estimate({suite: paired_differences(before, after)})
            found.append(Difference(measure, mean_before, mean_after, change))
    return found
