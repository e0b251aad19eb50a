"""Measures of instruction following and ranking quality, per query first (FollowIR, InfoSearch, InstructIR).

A run is `{document id: score}` of one query; a rank is 1 + the number of documents that come before, ties broken by
document id descending, as trec_eval and mteb do. A document absent from a run has the rank behind its last one.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, sqrt
from statistics import fmean
from typing import NamedTuple

import pytrec_eval

from infembed.errors import BadInputError

Scores = Mapping[str, float]
Qrels = Mapping[str, Mapping[str, int]]
Runs = Mapping[str, Scores]
PerQuery = dict[str, float]

MAP_DEPTH = 1000
_WISE_HORIZON = 20


class PairChange(NamedTuple):
    """One document under the original and the changed instruction of a topic."""

    document_id: str
    original_rank: int
    changed_rank: int
    score: float


def require_runs(qrels: Qrels, runs: Runs) -> None:
    """Refuse judged queries without a run, and scores that are not finite numbers."""
    missing = sorted(query for query in qrels if query not in runs)
    if missing:
        raise BadInputError(
            f"{len(missing)} of {len(qrels)} judged queries have no run (first: {missing[0]!r}); score every query"
        )
    for query, run in runs.items():
        for document, score in run.items():
            if not isfinite(score):
                raise BadInputError(f"the score of document {document!r} for query {query!r} is {score}, not a number")


def ranks(run: Scores) -> dict[str, int]:
    """Rank every document of a run, best first, from 1."""
    ordered = sorted(run.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return {document: position for position, (document, _) in enumerate(ordered, start=1)}


def rank_change(original_rank: int, changed_rank: int) -> float:
    """Score one document's move, in (-1, 1): positive when it fell (FollowIR, Eq. 1; exactly as mteb computes it)."""
    if original_rank >= changed_rank:
        return (1 / original_rank) / (1 / changed_rank) - 1
    return 1 - (1 / changed_rank) / (1 / original_rank)


def changes(original: Scores, changed: Scores, documents: Iterable[str]) -> list[PairChange]:
    """Follow documents from the original run to the changed one."""
    before, after = ranks(original), ranks(changed)
    result = []
    for document in documents:
        pair = before.get(document, len(before) + 1), after.get(document, len(after) + 1)
        result.append(PairChange(document, *pair, rank_change(*pair)))
    return result


def p_mrr(original: Scores, changed: Scores, documents: Sequence[str]) -> float:
    """Mean rank change of one topic's documents; of those no longer relevant it is p-MRR, positive is good.

    Of the documents relevant under both instructions it is preserve-MRR, which should be 0: a model that demotes
    everything shows here.
    """
    if not documents:
        raise BadInputError("p-MRR needs at least one document whose relevance changed; this topic has none")
    return fmean(change.score for change in changes(original, changed, documents))


def pairwise(run: Scores, better: Sequence[str], worse: Sequence[str]) -> float:
    """Share of (better, worse) document pairs that a run orders correctly; chance is 0.5."""
    if not better or not worse:
        raise BadInputError("pairwise accuracy needs a document on either side")
    order = ranks(run)
    behind = len(order) + 1
    right = sum(order.get(good, behind) < order.get(bad, behind) for good in better for bad in worse)
    return right / (len(better) * len(worse))


def sicr(plain: Scores, instructed: Scores, reversed_: Scores, gold: Sequence[str]) -> float:
    """Strict instruction compliance ratio of one query (InfoSearch): rank and score must both move the right way.

    A gold document that is absent from a run counts as not followed.
    """
    _require_gold("SICR", gold)
    plain_ranks, instructed_ranks, reversed_ranks = ranks(plain), ranks(instructed), ranks(reversed_)
    hits = 0
    for document in gold:
        if any(document not in run for run in (plain, instructed, reversed_)):
            continue
        o, i, r = plain_ranks[document], instructed_ranks[document], reversed_ranks[document]
        s_o, s_i, s_r = plain[document], instructed[document], reversed_[document]
        if o > 1:
            hits += i < o < r and s_i > s_o > s_r
        else:
            hits += i == 1 and r > 1 and s_i >= s_o > s_r
    return hits / len(gold)


def _require_gold(measure: str, gold: Sequence[str]) -> None:
    if not gold:
        raise BadInputError(f"{measure} needs at least one document that satisfies the instruction; the query has none")


def wise(plain: Scores, instructed: Scores, reversed_: Scores, gold: Sequence[str], *, n_candidates: int) -> float:
    """Weighted instruction sensitivity of one query (InfoSearch).

    `n_candidates` is the number of positives and hard negatives of the query.
    """
    _require_gold("WISE", gold)
    runs = [ranks(run) for run in (plain, instructed, reversed_)]
    scores = []
    for document in gold:
        if all(document in run for run in runs):
            before, instructed_rank, reversed_rank = (run[document] for run in runs)
            scores.append(_wise_of(before, instructed_rank, reversed_rank, n_candidates))
        else:
            scores.append(0.0)
    return fmean(scores)


def _wise_of(plain: int, instructed: int, reversed_: int, n_candidates: int) -> float:
    if instructed <= plain < reversed_:
        if plain < n_candidates and instructed == 1:
            return 1.0
        if plain <= _WISE_HORIZON:
            return (1 - sqrt(plain - instructed) / _WISE_HORIZON) / sqrt(instructed)
        return 0.01
    if reversed_ < plain < instructed:
        return -1.0
    if plain <= instructed:
        return (plain - instructed) / instructed
    return (reversed_ - plain) / plain


def paired_accuracy(recall_at_1: Mapping[str, float], pairs: Iterable[tuple[str, str]]) -> float:
    """NevIR: share of query pairs in which both queries rank their own document first; chance is 0.25."""
    pairs = list(pairs)
    _require_values(recall_at_1, (query for pair in pairs for query in pair))
    return fmean(float(recall_at_1[first] == 1 and recall_at_1[second] == 1) for first, second in pairs)


def robustness(per_query: Mapping[str, float], group_of: Mapping[str, str]) -> float:
    """InstructIR Robustness@k: the worst query of each group, averaged over groups; `group_of` names every query."""
    _require_values(per_query, group_of)
    worst: PerQuery = {}
    for query, group in group_of.items():
        value = per_query[query]
        worst[group] = min(value, worst.get(group, value))
    return fmean(worst.values())


def _require_values(values: Mapping[str, float], queries: Iterable[str]) -> None:
    queries = list(queries)
    missing = sorted(query for query in queries if query not in values)
    if missing or not queries:
        what = f"{len(missing)} of {len(queries)} queries have no value ({missing[:1]})"
        raise BadInputError(f"{what}; score every query")


def ndcg(qrels: Qrels, runs: Runs, *, k: int) -> PerQuery:
    """nDCG@k of every judged query."""
    return _trec(qrels, runs, f"ndcg_cut_{k}")


def mean_average_precision(qrels: Qrels, runs: Runs) -> PerQuery:
    """MAP@1000 of every judged query."""
    return _trec(qrels, runs, f"map_cut_{MAP_DEPTH}")


def recall(qrels: Qrels, runs: Runs, *, k: int) -> PerQuery:
    """R@k of every judged query."""
    return _trec(qrels, runs, f"recall_{k}")


def reciprocal_rank(qrels: Qrels, runs: Runs, *, k: int) -> PerQuery:
    """RR@k of every judged query."""
    cut = {query: _first(run, k) for query, run in runs.items()}
    return _trec(qrels, cut, "recip_rank")


def _first(run: Scores, k: int) -> dict[str, float]:
    return {document: run[document] for document, rank in ranks(run).items() if rank <= k}


def _trec(qrels: Qrels, runs: Runs, measure: str) -> PerQuery:
    """Evaluate with trec_eval; a judged query whose run is empty gets 0."""
    require_runs(qrels, runs)
    family, _, cut = measure.rpartition("_")
    wanted = {f"{family}.{cut}"} if cut.isdigit() else {measure}
    judged = {query: dict(documents) for query, documents in qrels.items()}
    evaluator = pytrec_eval.RelevanceEvaluator(judged, wanted)
    found = evaluator.evaluate({query: dict(runs[query]) for query in qrels})
    return {query: found[query][measure] if query in found else 0.0 for query in qrels}
