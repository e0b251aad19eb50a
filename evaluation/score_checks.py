"""The gate's checks of scores: instruction following, retrieval quality, the controls, and every instruction type."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from evaluation import statistics
from evaluation.policy import Policy
from evaluation.report import Measure, Report
from evaluation.statistics import FEWEST_TOPICS, Values
from evaluation.verdict import Check, Verdict, above, more_topics, passes, points, worst

_NO_EVIDENCE = 1.0


def check_following(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """Require a higher p-MRR, or one that is not lower, by bootstrap bound and sign-flip test alike."""
    differences = _differences(champion, candidate, Measure.P_MRR)
    found = statistics.one_sided(differences, confidence=policy.confidence)
    bound = 0.0 if policy.goal == "improve" else -policy.p_mrr_margin
    p_value = statistics.sign_flip_p_value(differences, above=bound)
    verdict = above(found, bound)
    if verdict is Verdict.PASS and p_value > 1 - policy.confidence:
        verdict = Verdict.INCONCLUSIVE
    need = f"must be above {points(bound)}" if bound else "must be above 0"
    hint = more_topics(found, bound) if verdict is Verdict.INCONCLUSIVE else ""
    gains = {suite: statistics.sign_flip_p_value({suite: values}) for suite, values in differences.items()}
    adjusted = statistics.holm(gains)
    by_suite = ", ".join(
        f"{suite} {points(values.mean())} (p {adjusted[suite]:.3f})" for suite, values in differences.items()
    )
    yield Check(
        name="p-MRR",
        verdict=verdict,
        reason=f"p-MRR changes by {_with_bounds(found, policy)} points, sign-flip p {p_value:.3f}; it {need}{hint}. "
        f"By suite, gains with Holm's p: {by_suite}",
        value=found.mean,
    )


def check_suites(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """No suite may pay for the mean: none may clearly lose more than it is allowed, tested with Holm's correction."""
    p_values = {
        f"{suite} {measure}": _loss_p_value(values, policy.suite_loss)
        for measure in (Measure.P_MRR, Measure.NDCG)
        for suite, values in _differences(champion, candidate, measure).items()
    }
    adjusted = statistics.holm(p_values)
    lost = [f"{name} (p {p_value:.3f})" for name, p_value in adjusted.items() if p_value <= 1 - policy.confidence]
    smallest = min(adjusted.values())
    allowed = f"more than {policy.suite_loss * 100:.1f} points"
    yield Check(
        name="suites",
        verdict=passes(not lost),
        reason=f"{', '.join(lost)} lost {allowed}, Holm's p over {len(adjusted)} tests"
        if lost
        else f"no suite clearly lost {allowed} of p-MRR or nDCG@10 (Holm's p {smallest:.3f} or more)",
        value=smallest,
    )


def check_quality(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """Require retrieval to be no worse, without and with instructions, and good at all."""
    instructed = [scores.suite for scores in champion.suites if scores.values_of(Measure.LIFT)]
    plain = _differences(champion, candidate, Measure.PLAIN_NDCG)
    yield _not_lower("nDCG@10 without instruction", plain, policy)
    following = _differences(champion, candidate, Measure.NDCG)
    yield _not_lower("nDCG@10 with instruction", {suite: following[suite] for suite in instructed}, policy)
    by_suite = {suite: float(values.mean()) for suite, values in candidate.strata(Measure.NDCG).items()}
    lowest = min(by_suite, key=by_suite.__getitem__)
    value = by_suite[lowest]
    yield Check(
        name="nDCG floor",
        verdict=passes(value > policy.ndcg_floor),
        reason=f"the lowest nDCG@10 is {value:.3f} (suite {lowest}); it must be above {policy.ndcg_floor:.3f}",
        value=value,
    )


def check_controls(candidate: Report, policy: Policy) -> Iterator[Check]:
    """Catch a model that moves documents whatever the instruction says."""
    yield _preserve(candidate, policy)
    yield _shuffle(candidate, policy)


def check_types(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """No instruction type may pay for the mean, nor be followed backwards."""
    for kind in sorted({kind for scores in champion.suites for kind in scores.instruction_types}):
        strata, values = {}, {}
        n_topics = 0
        for theirs in champion.suites:
            before, after = theirs.values_of_type(kind), candidate.suite(theirs.suite).values_of_type(kind)
            n_topics += len(before)
            if len(before) >= FEWEST_TOPICS:
                strata[theirs.suite] = statistics.paired_differences(before, after)
                values[theirs.suite] = np.array(list(after.values()))
        if not strata or n_topics < policy.fewest_topics_of_type:
            reason = f"{kind} instructions have {n_topics} topics; fewer than {policy.fewest_topics_of_type} in suites "
            reason += f"of at least {FEWEST_TOPICS} are not judged"
            yield Check(name=f"type {kind}", verdict=Verdict.PASS, reason=reason)
            continue
        yield _type(kind, strata, values, policy)


def _type(kind: str, strata: Mapping[str, Values], values: Mapping[str, Values], policy: Policy) -> Check:
    change = statistics.one_sided(strata, confidence=policy.confidence)
    level = statistics.one_sided(values, confidence=policy.confidence)
    return Check(
        name=f"type {kind}",
        verdict=passes(change.high >= -policy.type_loss and level.high >= policy.type_floor),
        reason=f"p-MRR on {kind} instructions is {points(level.mean)} (upper bound {points(level.high)}, clearly below "
        f"{points(policy.type_floor)} fails) and changes by {points(change.mean)} (upper bound {points(change.high)}, "
        f"clearly below {points(-policy.type_loss)} fails)",
        value=change.mean,
    )


def _suites(n: int) -> str:
    return "one suite" if n == 1 else f"{n} suites"


def _not_lower(name: str, differences: Mapping[str, Values], policy: Policy) -> Check:
    found = statistics.one_sided(differences, confidence=policy.confidence)
    verdict = above(found, -policy.ndcg_margin)
    hint = more_topics(found, -policy.ndcg_margin) if verdict is Verdict.INCONCLUSIVE else ""
    return Check(
        name=name,
        verdict=verdict,
        reason=f"{name} changes by {_with_bounds(found, policy)} points over {_suites(len(differences))}; it must not "
        f"fall by {policy.ndcg_margin * 100:.1f} or more{hint}",
        value=found.mean,
    )


def _preserve(candidate: Report, policy: Policy) -> Check:
    """Documents that stay relevant may rise, since those withdrawn make room for them; they may not fall."""
    preserve = candidate.strata(Measure.PRESERVE_MRR)
    if not preserve:
        return Check(
            name="preserve-MRR",
            verdict=Verdict.INCONCLUSIVE if policy.requires_preserve else Verdict.PASS,
            reason="no suite has documents that stay relevant under a changed instruction, so a model that demotes "
            "everything would not show here; add one, or set requires_preserve = false",
        )
    found = statistics.one_sided(preserve, confidence=policy.confidence)
    return Check(
        name="preserve-MRR",
        verdict=above(_negative(found), -policy.preserve_bound),
        reason=f"preserve-MRR, by which documents that stay relevant fall (below 0: rise), is "
        f"{_with_bounds(found, policy)} points; it must be below {points(policy.preserve_bound)}",
        value=found.mean,
    )


def _shuffle(candidate: Report, policy: Policy) -> Check:
    """Another topic's instructions must not give the p-MRR that the topic's own do."""
    gains, shares, shuffled = {}, {}, {}
    for scores in candidate.suites:
        other = scores.values_of(Measure.SHUFFLED_P_MRR)
        real = scores.values_of(Measure.P_MRR)
        if other:
            shuffled[scores.suite] = _array(other.values())
            gains[scores.suite] = _array(real[topic] - other[topic] for topic in other)
            shares[scores.suite] = _array(policy.shuffle_share * real[topic] - other[topic] for topic in other)
    if not gains:
        return Check(
            name="instruction shuffle",
            verdict=Verdict.INCONCLUSIVE,
            reason="all topics share one changed instruction, so none can be exchanged, and a model that moves "
            "documents whatever it says would not show; add a suite whose instructions differ",
        )
    gain = statistics.one_sided(gains, confidence=policy.confidence)
    share = statistics.one_sided(shares, confidence=policy.confidence)
    is_following = above(gain, 0.0) if policy.goal == "improve" else passes(gain.high >= 0)
    need = "must be above 0" if policy.goal == "improve" else "must not be clearly below 0"
    return Check(
        name="instruction shuffle",
        verdict=worst(is_following, passes(share.high >= 0)),
        reason=f"p-MRR is {points(statistics.macro_mean(shuffled) + gain.mean)} with the topics' own instructions and "
        f"{points(statistics.macro_mean(shuffled))} with another topic's; the difference {_with_bounds(gain, policy)} "
        f"{need}, and not clearly more than {policy.shuffle_share:.0%} may remain under another topic's",
        value=gain.mean,
    )


def _loss_p_value(differences: Values, loss: float) -> float:
    if -differences.mean() <= loss:
        return _NO_EVIDENCE
    return statistics.sign_flip_p_value({"suite": -differences}, above=loss)


def _differences(champion: Report, candidate: Report, measure: Measure) -> dict[str, Values]:
    differences = {}
    for scores in champion.suites:
        before = scores.values_of(measure)
        if before:
            after = candidate.suite(scores.suite).values_of(measure)
            differences[scores.suite] = statistics.paired_differences(before, after)
    return differences


def _array(values: Iterable[float]) -> Values:
    return np.array(list(values), dtype=np.float64)


def _negative(found: statistics.Interval) -> statistics.Interval:
    return statistics.Interval(-found.mean, -found.high, -found.low)


def _with_bounds(found: statistics.Interval, policy: Policy) -> str:
    return (
        f"{points(found.mean)} (one-sided {policy.confidence:.0%} bounds {points(found.low)} and {points(found.high)})"
    )
