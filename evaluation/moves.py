"""The documents behind a score: which ones an instruction moved, in a suite's best and worst topics."""

from collections.abc import Iterator, Mapping

from evaluation import measures
from evaluation.report import DocumentMove, Effect, QueryMoves, TopicMoves
from evaluation.suites.layout import Suite, SuiteQuery

N_TOPICS = 10
N_DOCUMENTS = 5
N_QUERIES = 2
N_WITHDRAWN = 3
EXCERPT_LENGTH = 200


def extreme_topics(suite: Suite, runs: measures.Runs, p_mrr: Mapping[str, float]) -> tuple[TopicMoves, ...]:
    """Return the ten topics with the highest p-MRR and the ten with the lowest, best first; none is in both.

    `runs` are those of the queries as written, `p_mrr` is by topic.
    """
    ordered = sorted(p_mrr.items(), key=lambda item: (-item[1], item[0]))
    n = min(N_TOPICS, len(ordered) // 2)
    chosen = dict(ordered[:n] + ordered[len(ordered) - n :])
    queries: dict[str, list[QueryMoves]] = {topic: [] for topic in chosen}
    for query in suite.changed_queries:
        if query.topic in chosen:
            queries[query.topic].append(_query_moves(suite, runs, query))
    return tuple(
        TopicMoves(topic=topic, p_mrr=value, queries=tuple(_most_extreme(queries[topic])))
        for topic, value in chosen.items()
    )


def _query_moves(suite: Suite, runs: measures.Runs, query: SuiteQuery) -> QueryMoves:
    assert query.original is not None, "only changed queries move documents"
    original = suite.by_id[query.original]
    before, after = runs[original.id], runs[query.id]
    return QueryMoves(
        text=_excerpt(query.text),
        original_instruction=original.instruction,
        changed_instruction=query.instruction,
        instruction_type=query.instruction_type,
        p_mrr=measures.p_mrr(before, after, suite.qrel_diff[query.id]),
        documents=tuple(_chosen_moves(suite, query, before, after)),
    )


def _chosen_moves(
    suite: Suite, query: SuiteQuery, before: measures.Scores, after: measures.Scores
) -> Iterator[DocumentMove]:
    """Yield the documents that moved most: those withdrawn first, then the ones that should stay or rise."""
    effects = _effects(suite, query)
    moved = sorted(
        measures.changes(before, after, effects), key=lambda change: (-abs(change.score), change.document_id)
    )
    withdrawn = [change for change in moved if effects[change.document_id] is Effect.WITHDRAWN]
    others = [change for change in moved if effects[change.document_id] is not Effect.WITHDRAWN]
    n_withdrawn = max(N_WITHDRAWN, N_DOCUMENTS - len(others))
    for change in (withdrawn[:n_withdrawn] + others)[:N_DOCUMENTS]:
        yield DocumentMove(
            document=change.document_id,
            excerpt=_excerpt(suite.documents[change.document_id]),
            effect=effects[change.document_id],
            rank_before=change.original_rank,
            rank_after=change.changed_rank,
        )


def _effects(suite: Suite, query: SuiteQuery) -> dict[str, Effect]:
    kept = set(suite.preserved(query))
    relevant = [document for document, grade in suite.qrels[query.id].items() if grade > 0]
    effects = {document: Effect.KEPT if document in kept else Effect.ADDED for document in relevant}
    return effects | dict.fromkeys(suite.qrel_diff[query.id], Effect.WITHDRAWN)


def _most_extreme(queries: list[QueryMoves]) -> list[QueryMoves]:
    return sorted(queries, key=lambda query: -abs(query.p_mrr))[:N_QUERIES]


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT_LENGTH else text[: EXCERPT_LENGTH - 1].rstrip() + "…"
