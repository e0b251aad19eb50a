"""Measures of a pair of answers: what two services, or two instructions, have in common."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from evaluation.canary.observations import Answer, Exchange, Hit, Observation, Role
from evaluation.canary.questions import Probe, Shadow
from evaluation.measures import p_mrr
from evaluation.statistics import N_DRAWS, SEED, Interval, Values

_FEWEST_COMMON = 3
_BATCH_DRAWS = 500


class Pair(NamedTuple):
    """What both services answered to one search."""

    query: str
    stable: Answer
    candidate: Answer


class ProbeScores(NamedTuple):
    """Live p-MRR of one probe on both services."""

    query: str
    stable: float
    candidate: float


def answered(exchanges: Sequence[Exchange]) -> list[Pair]:
    """Keep the exchanges which both services answered."""
    return [
        Pair(exchange.search.query, exchange.stable, exchange.candidate)
        for exchange in exchanges
        if isinstance(exchange.stable, Answer) and isinstance(exchange.candidate, Answer)
    ]


def overlap(first: Answer, second: Answer, *, k: int) -> float:
    """Share of the longer top k that both have; two empty answers agree."""
    ours, theirs = ({hit.id for hit in answer.hits[:k]} for answer in (first, second))
    longer = max(len(ours), len(theirs))
    return len(ours & theirs) / longer if longer else 1.0


def rank_correlation(first: Answer, second: Answer, *, k: int) -> float | None:
    """Kendall's tau over the documents of both top k; None for fewer than three, which have no order to speak of."""
    behind = {hit.id: rank for rank, hit in enumerate(second.hits[:k])}
    common = [behind[hit.id] for hit in first.hits[:k] if hit.id in behind]
    if len(common) < _FEWEST_COMMON:
        return None
    tau = float(stats.kendalltau(range(len(common)), common).statistic)
    return round(tau, 12)  # the same order gives 1 - 2e-16


def score_drift(stable: Answer, candidate: Answer) -> float | None:
    """Candidate's best score minus stable's; None where either found nothing."""
    if not stable.hits or not candidate.hits:
        return None
    return candidate.hits[0].score - stable.hits[0].score


def sensitivity(observations: Sequence[Observation], role: Role, *, k: int) -> float | None:
    """Share of the top k that the changed instruction exchanges, over all probes; None without any."""
    pairs = [both for observation in observations if (both := _probe_answers(observation, role))]
    return float(np.mean([1 - overlap(*both, k=k) for both in pairs])) if pairs else None


def live_p_mrr(observations: Sequence[Observation]) -> list[ProbeScores]:
    """Score both services on the probes whose withdrawn documents at least one of the four answers shows."""
    return list(_live_p_mrr(observations))


def _live_p_mrr(observations: Sequence[Observation]) -> Iterator[ProbeScores]:
    for observation in observations:
        stable, candidate = (_probe_answers(observation, role) for role in Role)
        if stable is None or candidate is None or not isinstance(observation.question, Probe):
            continue
        shown = {hit.id for answer in (*stable, *candidate) for hit in answer.hits}
        documents = [document for document in observation.question.withdrawn if document in shown]
        if documents:
            scores = (_p_mrr(*answers, documents) for answers in (stable, candidate))
            yield ProbeScores(observation.question.query, *scores)


def _p_mrr(original: Answer, changed: Answer, documents: Sequence[str]) -> float:
    """Cut both answers to the same length first: an absent document ranks behind the last, so length would move it."""
    length = min(len(original.hits), len(changed.hits))
    return p_mrr(_run(original.hits[:length]), _run(changed.hits[:length]), documents)


def _run(hits: Sequence[Hit]) -> dict[str, float]:
    return {hit.id: hit.score for hit in hits}


def _probe_answers(observation: Observation, role: Role) -> tuple[Answer, Answer] | None:
    if not isinstance(observation.question, Probe):
        return None
    original, changed = (exchange.of(role) for exchange in observation.exchanges)
    return (original, changed) if isinstance(original, Answer) and isinstance(changed, Answer) else None


class Latencies(NamedTuple):
    """Milliseconds of the same searches on both services, pair by pair."""

    stable: Values
    candidate: Values

    def quantile_ratio(self, q: float, *, confidence: float) -> Interval:
        """Ratio of a quantile with one-sided bootstrap bounds; pairs are drawn together, as noise hit them together."""

        def ratio(candidate: Values, stable: Values, axis: int = -1) -> Values:
            quotient: Values = np.quantile(candidate, q, axis=axis) / np.quantile(stable, q, axis=axis)
            return quotient

        bounds = stats.bootstrap(
            (self.candidate, self.stable),
            ratio,
            paired=True,
            vectorized=True,
            n_resamples=N_DRAWS,
            batch=_BATCH_DRAWS,
            confidence_level=2 * confidence - 1,
            method="percentile",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        return Interval(float(ratio(self.candidate, self.stable)), float(bounds.low), float(bounds.high))


def latencies(observations: Sequence[Observation], *, skip: int) -> Latencies:
    """Collect the latencies of shadow queries after the first `skip`; probes, which ask for more, are left out."""
    shadows = [o for o in observations if isinstance(o.question, Shadow)][skip:]
    pairs = answered([exchange for observation in shadows for exchange in observation.exchanges])
    stable, candidate = (np.array([getattr(pair, role).latency_ms for pair in pairs]) for role in Role)
    return Latencies(stable, candidate)
