"""From a model and a suite to scores per topic: encode once, rank exactly, measure."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from evaluation import measures
from evaluation.report import Measure, SuiteScores, TopicScores
from evaluation.suites.layout import Suite, SuiteQuery
from infembed.encoder import Encoder
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray, require_finite

DEPTH = 1000
"""Documents kept of a run, as in FollowIR; a reranking suite keeps all its candidates."""
_SHUFFLE_SEED = 11

Runs = dict[str, dict[str, float]]


@dataclass(frozen=True)
class SuiteRuns:
    """Scores of every query as written, without its instruction, and with another topic's instruction."""

    instructed: Runs
    plain: Runs
    shuffled: Runs


def score_suite(suite: Suite, encoder: Encoder) -> SuiteScores:
    """Encode and score a whole suite."""
    return measure_runs(suite, make_runs(suite, encoder))


def make_runs(suite: Suite, encoder: Encoder) -> SuiteRuns:
    """Encode documents and queries and rank exactly; quality and index recall are measured apart."""
    ids = list(suite.documents)
    documents = require_finite(encoder.encode_documents([suite.documents[i] for i in ids]))
    return SuiteRuns(
        instructed=_runs(suite, encoder, ids, documents, {q.id: q.instruction for q in suite.queries}),
        plain=_runs(suite, encoder, ids, documents, {}),
        shuffled=_runs(suite, encoder, ids, documents, shuffled_instructions(suite)),
    )


def shuffled_instructions(suite: Suite) -> dict[str, str | None]:
    """Give every changed query the changed instruction of another topic, always the same one."""
    changed = [query for query in suite.changed_queries if query.instruction]
    rng = random.Random(_SHUFFLE_SEED)  # noqa: S311 - a fixed shuffle, not a secret
    instructions: dict[str, str | None] = {query.id: query.instruction for query in suite.queries}
    for query in changed:
        others = [other.instruction for other in changed if other.topic != query.topic]
        if others:
            instructions[query.id] = rng.choice(others)
    return instructions


def measure_runs(suite: Suite, runs: SuiteRuns) -> SuiteScores:
    """Turn runs into topic values; a query that is judged and not scored is an error, never skipped."""
    measures.require_runs(suite.qrels, runs.instructed)
    ranked = {
        Measure.NDCG: measures.ndcg(suite.qrels, runs.instructed, k=10),
        Measure.PLAIN_NDCG: measures.ndcg(suite.qrels, runs.plain, k=10),
        Measure.MAP: measures.mean_average_precision(suite.qrels, runs.instructed),
        Measure.RECALL: measures.recall(suite.qrels, runs.instructed, k=100),
        Measure.RECIPROCAL_RANK: measures.reciprocal_rank(suite.qrels, runs.instructed, k=10),
    }
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
    by_query = {query.id: _p_mrr(suite, query, runs.instructed, runs.instructed) for query in changed}
    values[Measure.P_MRR] = fmean(by_query.values())
    values[Measure.SHUFFLED_P_MRR] = fmean(_p_mrr(suite, q, runs.instructed, runs.shuffled) for q in changed)
    kept = [(query, suite.preserved(query)) for query in changed]
    preserve = [_moved(query, runs.instructed, documents) for query, documents in kept if documents]
    if preserve:
        values[Measure.PRESERVE_MRR] = fmean(preserve)
    pairs = [_pairwise(suite, query, runs.instructed) for query in changed if _relevant(suite, query)]
    if pairs:
        values[Measure.PAIRWISE] = fmean(pairs)
    by_type: dict[str, list[float]] = {}
    for query in changed:
        by_type.setdefault(query.instruction_type or "unnamed", []).append(by_query[query.id])
    return TopicScores(topic=name, values=values, by_type={kind: fmean(found) for kind, found in by_type.items()})


def _is_first_relevant(suite: Suite, runs: Runs, query: SuiteQuery) -> bool:
    first = min(measures.ranks(runs[query.id]).items(), key=lambda item: item[1])[0]
    return suite.qrels[query.id].get(first, 0) > 0


def _p_mrr(suite: Suite, query: SuiteQuery, original: Runs, changed: Runs) -> float:
    assert query.original is not None, "only changed queries are followed"
    return measures.p_mrr(original[query.original], changed[query.id], suite.qrel_diff[query.id])


def _moved(query: SuiteQuery, runs: Runs, documents: Sequence[str]) -> float:
    assert query.original is not None, "only changed queries are followed"
    return measures.p_mrr(runs[query.original], runs[query.id], documents)


def _relevant(suite: Suite, query: SuiteQuery) -> list[str]:
    return [document for document, grade in suite.qrels[query.id].items() if grade > 0]


def _pairwise(suite: Suite, query: SuiteQuery, runs: Runs) -> float:
    """Order documents still relevant before those that no longer are, under the changed instruction."""
    return measures.pairwise(runs[query.id], _relevant(suite, query), suite.qrel_diff[query.id])


def _runs(
    suite: Suite, encoder: Encoder, ids: Sequence[str], documents: FloatArray, instructions: Mapping[str, str | None]
) -> Runs:
    inputs = [TextInput(query.text, InputType.QUERY, instructions.get(query.id)) for query in suite.queries]
    scores = require_finite(encoder.encode_queries(inputs)) @ documents.T
    column = {identifier: number for number, identifier in enumerate(ids)}
    runs = {}
    for query, row in zip(suite.queries, scores, strict=True):
        if query.candidates is not None:
            runs[query.id] = {document: float(row[column[document]]) for document in query.candidates}
            continue
        row[[column[document] for document in query.excluded]] = -np.inf
        keep = np.argpartition(-row, DEPTH)[:DEPTH] if len(row) > DEPTH else range(len(row))
        runs[query.id] = {ids[number]: float(row[number]) for number in keep if row[number] > -np.inf}
    return runs
