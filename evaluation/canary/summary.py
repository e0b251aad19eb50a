"""One service of a run in figures."""

from collections import Counter

import numpy as np

from evaluation.canary import pairs
from evaluation.canary.decision import ServiceSummary
from evaluation.canary.observations import Answer, Failure, Observations, Role, ServiceFacts


def summarize(observations: Observations, role: Role, *, warmup: int) -> ServiceSummary:
    """Count and average what a run saw of one service."""
    outcomes = [exchange.of(role) for exchange in observations.exchanges]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    visit = observations.visit(role)
    facts = visit.before if isinstance(visit.before, ServiceFacts) else None
    name = observations.collection_of(role)
    collection = facts.collections.get(name) if facts and name else None
    milliseconds = getattr(pairs.latencies(observations.seen, skip=warmup), role)
    p50, p95 = np.quantile(milliseconds, [0.5, 0.95]) if len(milliseconds) else (None, None)
    scores = [getattr(score, role) for score in pairs.live_p_mrr(observations.seen)]
    return ServiceSummary(
        url=visit.url,
        model=facts.model_id if facts else None,
        model_sha=facts.model_sha if facts else None,
        document_fingerprint=facts.document_fingerprint if facts else None,
        collection=name,
        generation=collection.generation if collection else None,
        documents=collection.documents if collection else None,
        n_searches=len(outcomes),
        n_waits=sum(outcome.n_waits for outcome in outcomes),
        failures=dict(Counter(failure.kind for failure in failures)),
        first_failure=failures[0].message if failures else None,
        n_without_result=sum(isinstance(outcome, Answer) and not outcome.hits for outcome in outcomes),
        p50_ms=p50,
        p95_ms=p95,
        p_mrr=float(np.mean(scores)) if scores else None,
        instruction_sensitivity=pairs.sensitivity(observations.seen, role, k=observations.k),
    )
