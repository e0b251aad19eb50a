"""From a model and a suite to scores per topic: encode once, rank exactly, measure."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from evaluation import measures
from evaluation.ranking import RankedRun
from evaluation.report import Measure, SuiteScores, TopicScores
from evaluation.runs import Runs, SuiteRuns, make_runs, require_whole
from evaluation.suites.layout import Suite, SuiteQuery
from infembed.encoder import Encoder

__all__ = ["SuiteRuns", "make_runs", "measure_runs", "score_suite"]


def score_suite(suite: Suite, encoder: Encoder) -> SuiteScores:
    """Encode and score a whole suite."""
    return measure_runs(suite, make_runs(suite, encoder))


def measure_runs(suite: Suite, runs: SuiteRuns) -> SuiteScores:
    """Turn runs into topic values; a query that is judged and not ranked whole is an error, never skipped."""
    require_whole(suite, runs)
    ranked = _ranking_measures(suite, runs)
    topics: dict[str, list[SuiteQuery]] = {}
    for query in suite.queries:
        topics.setdefault(query.topic, []).append(query)
    return SuiteScores(
        suite=suite.info.name,
        digest=suite.digest,
        n_documents=len(suite.documents),
        n_queries=len(suite.queries),
        topics=tuple(_topic(suite, runs, name, queries, ranked) for name, queries in topics.items()),
    )


def _ranking_measures(suite: Suite, runs: SuiteRuns) -> dict[Measure, measures.PerQuery]:
    """Give trec_eval no more of each run than its measure looks at."""
    first = {query: run.top(10) for query, run in runs.instructed.items()}
    return {
        Measure.NDCG: measures.ndcg(suite.qrels, first, k=10),
        Measure.PLAIN_NDCG: measures.ndcg(suite.qrels, {q: run.top(10) for q, run in runs.plain.items()}, k=10),
        Measure.MAP: {query: _average_precision(suite.qrels[query], run) for query, run in runs.instructed.items()},
        Measure.RECALL: measures.recall(suite.qrels, {q: run.top(100) for q, run in runs.instructed.items()}, k=100),
        Measure.RECIPROCAL_RANK: measures.reciprocal_rank(suite.qrels, first, k=10),
    }


def _average_precision(judged: Mapping[str, int], run: RankedRun) -> float:
    """Compute `measures.mean_average_precision` of one query from ranks; trec_eval would sort every run again."""
    relevant = [document for document, grade in judged.items() if grade > 0]
    ranks = sorted(rank for rank in run.ranks(relevant) if rank <= min(len(run), measures.MAP_DEPTH))
    return sum(place / rank for place, rank in enumerate(ranks, start=1)) / len(relevant) if relevant else 0.0


def _topic(
    suite: Suite,
    runs: SuiteRuns,
    name: str,
    queries: Sequence[SuiteQuery],
    ranked: Mapping[Measure, measures.PerQuery],
) -> TopicScores:
    values = {measure: fmean(found[query.id] for query in queries) for measure, found in ranked.items()}
    if suite.info.is_paired:
        values[Measure.PAIRED] = float(all(_is_first_relevant(suite, runs.instructed, query) for query in queries))
    if all(query.instruction is None for query in queries):
        return TopicScores(topic=name, values=values)
    values[Measure.LIFT] = values[Measure.NDCG] - values[Measure.PLAIN_NDCG]
    values[Measure.ROBUSTNESS] = min(ranked[Measure.NDCG][query.id] for query in queries)
    changed = [query for query in queries if query.original is not None]
    if not changed:
        return TopicScores(topic=name, values=values)
    by_query = {query.id: _p_mrr(suite, query, runs.instructed) for query in changed}
    by_type: dict[str, list[float]] = {}
    for query in changed:
        by_type.setdefault(query.instruction_type or "unnamed", []).append(by_query[query.id])
    return TopicScores(
        topic=name,
        values=values | {Measure.P_MRR: fmean(by_query.values())} | _controls(suite, runs, changed),
        by_type={kind: fmean(found) for kind, found in by_type.items()},
    )


def _controls(suite: Suite, runs: SuiteRuns, changed: Sequence[SuiteQuery]) -> dict[Measure, float]:
    """Compute what a topic's changed queries give besides p-MRR; a measure without a case is left out."""
    found: dict[Measure, list[float]] = {}
    for query in changed:
        if query.id in runs.shuffled:
            before, after = runs.shuffled_original[query.id], runs.shuffled[query.id]
            moved = _moved(before, after, suite.qrel_diff[query.id])
            found.setdefault(Measure.SHUFFLED_P_MRR, []).append(moved)
        if kept := suite.preserved(query):
            moved = _moved(_original(query, runs.instructed), runs.instructed[query.id], kept)
            found.setdefault(Measure.PRESERVE_MRR, []).append(moved)
        relevant = [document for document, grade in suite.qrels[query.id].items() if grade > 0]
        if relevant:
            right = _pairwise(runs.instructed[query.id], relevant, suite.qrel_diff[query.id])
            found.setdefault(Measure.PAIRWISE, []).append(right)
    return {measure: fmean(values) for measure, values in found.items()}


def _is_first_relevant(suite: Suite, runs: Runs, query: SuiteQuery) -> bool:
    (first,) = runs[query.id].top(1)
    return suite.qrels[query.id].get(first, 0) > 0


def _p_mrr(suite: Suite, query: SuiteQuery, runs: Runs) -> float:
    return _moved(_original(query, runs), runs[query.id], suite.qrel_diff[query.id])


def _original(query: SuiteQuery, runs: Runs) -> RankedRun:
    assert query.original is not None, "only changed queries are followed"
    return runs[query.original]


def _moved(before: RankedRun, after: RankedRun, documents: Sequence[str]) -> float:
    """Compute `measures.p_mrr` from ranks that are known already."""
    pairs = zip(before.ranks(documents), after.ranks(documents), strict=True)
    return fmean(measures.rank_change(original, changed) for original, changed in pairs)


def _pairwise(run: RankedRun, relevant: Sequence[str], withdrawn: Sequence[str]) -> float:
    """Order documents still relevant before those that no longer are; only their order among themselves counts."""
    judged = [*relevant, *withdrawn]
    order = {document: -float(rank) for document, rank in zip(judged, run.ranks(judged), strict=True)}
    return measures.pairwise(order, relevant, withdrawn)
