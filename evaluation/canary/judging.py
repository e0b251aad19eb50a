"""From observations and a policy to a verdict with reasons. No input or output of its own.

Each check is PASS, FAIL or INCONCLUSIVE (its interval straddles the bound, or there is too little to go by). One FAIL
fails the candidate, else one INCONCLUSIVE leaves the question open. The unit of the intervals is the query: searches
with the same query are averaged first.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.canary import pairs
from evaluation.canary.bounds import Bounds, check_interval, check_mean, check_share, make_check
from evaluation.canary.decision import CanaryDecision
from evaluation.canary.observations import (
    Answer,
    CollectionFacts,
    Failure,
    FailureKind,
    Observations,
    Role,
    ServiceFacts,
    Stop,
)
from evaluation.canary.pairs import Pair
from evaluation.canary.policy import CanaryPolicy
from evaluation.canary.summary import summarize
from evaluation.gate import Check, Decision, Verdict
from evaluation.statistics import FEWEST_TOPICS

_FEWEST_K_WITH_ORDER = 3


def judge(observations: Observations, policy: CanaryPolicy, gate: Decision | None = None) -> CanaryDecision:
    """Judge a candidate beside the stable service; pure: the same observations give the same decision.

    With the gate's decision, both must serve the bundles that it is about.
    """
    checks = tuple(_checks(observations, policy, gate))
    verdicts = {check.verdict for check in checks}
    stable, candidate = (summarize(observations, role, warmup=policy.warmup_queries) for role in Role)
    return CanaryDecision(
        verdict=next((v for v in (Verdict.FAIL, Verdict.INCONCLUSIVE) if v in verdicts), Verdict.PASS),
        checks=checks,
        stable=stable,
        candidate=candidate,
        k=observations.k,
        n_questions=observations.n_questions,
        n_asked=len(observations.seen),
        questions_sha256=observations.questions_sha256,
        started_at=observations.started_at,
        duration_s=observations.duration_s,
        policy=policy,
    )


def _checks(observations: Observations, policy: CanaryPolicy, gate: Decision | None) -> Iterator[Check]:
    stable, candidate = observations.stable.before, observations.candidate.before
    if isinstance(stable, Failure):
        yield make_check(
            "reachable", Verdict.INCONCLUSIVE, f"{_silent(observations, Role.STABLE)}; nothing to compare with"
        )
        return
    if isinstance(candidate, Failure):
        yield make_check("reachable", Verdict.FAIL, _silent(observations, Role.CANDIDATE))
        return
    if gate is not None:
        yield _judged_by_the_gate(stable, candidate, gate)
    yield from _ends_as_it_began(observations)
    yield from _index(observations, stable, candidate, policy)
    found = pairs.answered(observations.exchanges)
    yield _enough(observations, found, policy)
    yield _errors(observations, policy)
    yield _empty_answers(found, policy)
    yield from _agreement(found, observations.k, policy)
    yield from _live_p_mrr(observations, policy)
    yield from _latency(observations, policy)


def _judged_by_the_gate(stable: ServiceFacts, candidate: ServiceFacts, gate: Decision) -> Check:
    """Require that what is served is what was judged: a decision about other bundles says nothing of these."""
    served = (
        (Role.CANDIDATE, candidate.model_sha, gate.candidate_digest, Verdict.FAIL),
        (Role.STABLE, stable.model_sha, gate.champion_digest, Verdict.INCONCLUSIVE),
    )
    for role, found, expected, verdict in served:
        if found != expected:
            reason = f"the {role} service serves bundle {found[:12]}, the gate's decision is about {expected[:12]}"
            return make_check("gate", verdict, reason)
    return make_check("gate", Verdict.PASS, "both services serve the bundles that the gate's decision is about")


def _silent(observations: Observations, role: Role) -> str:
    failure = observations.visit(role).before
    assert isinstance(failure, Failure)
    return f"the {role} service at {observations.visit(role).url} did not answer GET /info: {failure.message}"


def _ends_as_it_began(observations: Observations) -> Iterator[Check]:
    """Require one model and one index on either side, still there at the end."""
    blame = {Role.STABLE: Verdict.INCONCLUSIVE, Role.CANDIDATE: Verdict.FAIL}
    for role in Role:
        visit = observations.visit(role)
        if isinstance(visit.after, Failure):
            yield make_check("steady", blame[role], f"the {role} service was gone at the end: {visit.after.message}")
        elif isinstance(visit.before, ServiceFacts) and visit.after and not visit.after.is_same_as(visit.before):
            reason = f"the {role} service changed its model or index generation during the run; run the canary again"
            yield make_check("steady", Verdict.INCONCLUSIVE, reason)
    blamed = {Stop.TIME_LIMIT: None, Stop.CANDIDATE_FAILS: Verdict.FAIL}
    if observations.stop and (verdict := blamed.get(observations.stop, Verdict.INCONCLUSIVE)):
        yield make_check("steady", verdict, f"{observations.stop}; {_asked(observations)}")


def _index(
    observations: Observations, stable: ServiceFacts, candidate: ServiceFacts, policy: CanaryPolicy
) -> Iterator[Check]:
    """Say whether both search the same documents; a promoted pair of bundle and index may have a new generation."""
    name, theirs = (observations.collection_of(role) for role in Role)
    if name not in stable.collections or theirs is None:
        return
    if theirs not in candidate.collections:
        there = ", ".join(sorted(candidate.collections)) or "none"
        yield make_check("index", Verdict.FAIL, f"the candidate serves no collection {theirs!r}; there is {there}")
        return
    ours, other = stable.collections[name], candidate.collections[theirs]
    if theirs != name:
        reason = f"stable answers from collection {name!r}, the candidate from {theirs!r}; choose one with --collection"
        yield make_check("index", Verdict.INCONCLUSIVE, reason)
        return
    same = "the same" if stable.document_fingerprint == candidate.document_fingerprint else "another"
    reason = f"collection {name}: {_generations(ours, other)}, {same} document fingerprint"
    yield _document_count(ours.documents, other.documents, policy, reason=reason)


def _generations(stable: CollectionFacts, candidate: CollectionFacts) -> str:
    if stable.generation == candidate.generation:
        return f"the same generation {stable.generation}"
    return f"generation {stable.generation} in stable, {candidate.generation} in the candidate"


def _document_count(stable: int, candidate: int, policy: CanaryPolicy, *, reason: str) -> Check:
    """Missing documents are the candidate's fault; more of them only make the answers incomparable."""
    missing = (stable - candidate) / max(stable, 1)
    verdict = Verdict.PASS
    if abs(missing) > policy.missing_documents_limit:
        verdict = Verdict.FAIL if missing > 0 else Verdict.INCONCLUSIVE
    reason += (
        f", {stable:,} documents in stable and {candidate:,} in the candidate; "
        f"the counts may differ by {policy.missing_documents_limit:.1%}"
    )
    return make_check("index", verdict, reason, missing)


def _enough(observations: Observations, found: Sequence[Pair], policy: CanaryPolicy) -> Check:
    n = len({pair.query for pair in found})
    reason = (
        f"both services answered {n} different queries ({_asked(observations)}); {policy.fewest_queries} are needed"
    )
    if observations.stop is Stop.TIME_LIMIT:
        reason += f"; {Stop.TIME_LIMIT}"
    refusals = [
        exchange.stable
        for exchange in observations.exchanges
        if isinstance(exchange.stable, Failure)
        and isinstance(exchange.candidate, Failure)
        and exchange.stable.kind is exchange.candidate.kind is FailureKind.REFUSED
    ]
    if refusals:
        reason += f"; both refused {len(refusals)} searches, the first with: {refusals[0].message}"
    return make_check("enough queries", Verdict.PASS if n >= policy.fewest_queries else Verdict.INCONCLUSIVE, reason, n)


def _errors(observations: Observations, policy: CanaryPolicy) -> Check:
    """Count the candidate's failures where stable answered: a query both refuse is no fault of the candidate."""
    judged = [exchange.candidate for exchange in observations.exchanges if isinstance(exchange.stable, Answer)]
    failures = [outcome for outcome in judged if isinstance(outcome, Failure)]
    what = f"the candidate failed {len(failures)} of {len(judged)} searches that stable answered"
    if failures:
        what += f" (first: {failures[0].kind}, {failures[0].message})"
    return check_share(
        "errors", len(failures), len(judged), limit=policy.error_limit, confidence=policy.confidence, what=what
    )


def _empty_answers(found: Sequence[Pair], policy: CanaryPolicy) -> Check:
    with_results = [pair for pair in found if pair.stable.hits]
    n = sum(not pair.candidate.hits for pair in with_results)
    what = f"the candidate found nothing for {n} of {len(with_results)} searches with results in stable"
    return check_share(
        "zero results", n, len(with_results), limit=policy.zero_result_limit, confidence=policy.confidence, what=what
    )


def _agreement(found: Sequence[Pair], k: int, policy: CanaryPolicy) -> Iterator[Check]:
    overlaps = [(pair.query, pairs.overlap(pair.stable, pair.candidate, k=k)) for pair in found]
    worst, least = min(overlaps, key=lambda item: item[1], default=("", 0.0))
    confidence = policy.confidence
    what = f"mean overlap@{k} (worst {least:.2f}, {worst!r})"
    yield check_mean("overlap", overlaps, Bounds(policy.overlap_floor), confidence=confidence, what=what)
    if k >= _FEWEST_K_WITH_ORDER:
        correlations = [(pair.query, pairs.rank_correlation(pair.stable, pair.candidate, k=k)) for pair in found]
        floor, what = Bounds(policy.rank_correlation_floor), "mean tau of the common documents"
        yield check_mean("rank correlation", correlations, floor, confidence=confidence, what=what)
    drifts = [(pair.query, pairs.score_drift(pair.stable, pair.candidate)) for pair in found]
    either_way = Bounds(-policy.score_drift_limit, policy.score_drift_limit)
    what = "mean change of the best document's score"
    yield check_mean("score drift", drifts, either_way, confidence=confidence, what=what)


def _live_p_mrr(observations: Observations, policy: CanaryPolicy) -> Iterator[Check]:
    scores = pairs.live_p_mrr(observations.seen)
    n = len({score.query for score in scores})
    needed = max(policy.fewest_probes, FEWEST_TOPICS)
    if n < needed:
        if policy.fewest_probes == 0:
            return
        reason = (
            f"{n} different probe pairs show a withdrawn document; {needed} are needed "
            "(fewest_probes = 0 in the policy does without)"
        )
        yield make_check("live p-MRR", Verdict.INCONCLUSIVE, reason, n)
        return
    stable, candidate = (np.mean([getattr(score, role) for score in scores]) for role in Role)
    changes = [(score.query, score.candidate - score.stable) for score in scores]
    what = f"change of live p-MRR over {n} probes (stable {stable:+.3f}, candidate {candidate:+.3f})"
    margin = Bounds(-policy.p_mrr_margin)
    yield check_mean("live p-MRR", changes, margin, confidence=policy.confidence, what=what)


def _latency(observations: Observations, policy: CanaryPolicy) -> Iterator[Check]:
    measured = pairs.latencies(observations.seen, skip=policy.warmup_queries)
    n = len(measured.stable)
    for name, q, limit in (("p50", 0.5, policy.latency_p50_ratio), ("p95", 0.95, policy.latency_p95_ratio)):
        if n < FEWEST_TOPICS:
            reason = f"{n} shadow queries with a latency on both sides after the warm-up; {FEWEST_TOPICS} are needed"
            yield make_check(f"latency {name}", Verdict.INCONCLUSIVE, reason)
            continue
        found = measured.quantile_ratio(q, confidence=policy.confidence)
        stable, candidate = np.quantile(measured.stable, q), np.quantile(measured.candidate, q)
        what = f"{name} {candidate:.1f} ms against {stable:.1f} ms, ratio"
        within = Bounds(at_most=limit)
        yield check_interval(f"latency {name}", found, within, confidence=policy.confidence, what=what)


def _asked(observations: Observations) -> str:
    return f"{len(observations.seen)} of {observations.n_questions} questions were asked"
