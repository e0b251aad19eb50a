"""The promotion gate: two reports and a policy give a decision with reasons. No input or output of its own.

Each check is PASS, FAIL or INCONCLUSIVE (the interval straddles the bound). One FAIL fails the gate, else one
INCONCLUSIVE leaves it open. p-MRR alone is treacherous (a random encoder beats small real ones on FollowIR), so
quality floors, non-inferiority, preserve-MRR and the instruction-shuffle control are checks of their own.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from evaluation import statistics
from evaluation.report import Measure, Report, ServingCosts
from evaluation.statistics import Values
from infembed.config import Config
from infembed.errors import InfEmbedError

_FEWEST_DISTINCT = 0.9


class Verdict(StrEnum):
    """What a check, and the gate, concludes."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 2}[self]


class Policy(Config):
    """What a candidate must show. Scores are on a scale of -1..1 or 0..1, so 0.01 is one point."""

    goal: Literal["improve", "maintain"] = Field(
        default="improve",
        description="improve: p-MRR must be higher; maintain: it must not be lower by more than the margin",
    )
    p_mrr_margin: float = Field(
        default=0.02, gt=0, le=0.2, description="maintain: the largest loss of p-MRR that is accepted"
    )
    ndcg_margin: float = Field(default=0.01, gt=0, le=0.1, description="the largest loss of nDCG@10 that is accepted")
    ndcg_floor: float = Field(default=0.2, ge=0, lt=1, description="every suite's nDCG@10 must be above it")
    preserve_bound: float = Field(
        default=0.1, gt=0, le=0.5, description="how far documents that stay relevant may move, either way"
    )
    type_loss: float = Field(
        default=0.05, gt=0, le=0.5, description="the largest loss of p-MRR accepted on one instruction type"
    )
    fewest_topics_of_type: int = Field(
        default=20, ge=10, description="types with fewer topics are reported, not judged"
    )
    confidence: float = Field(default=0.95, ge=0.8, le=0.999)
    parity_max_abs: float = Field(default=1e-4, gt=0, description="bundle against checkpoint, where it was measured")
    batch_invariance_max_abs: float = Field(default=1e-4, gt=0, description="alone against batched")
    latency_ratio: float = Field(default=1.2, ge=1, description="p95 against the champion's, measured in one run")
    memory_ratio: float = Field(default=1.2, ge=1, description="resident memory against the champion's")
    requires_serving: bool = Field(default=True, description="refuse reports without measured serving costs")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.goal == "maintain" and self.p_mrr_margin > self.type_loss * 2:
            raise ValueError(
                f"p_mrr_margin ({self.p_mrr_margin}) is more than twice type_loss ({self.type_loss}): "
                "the mean could lose more than any type may"
            )
        return self


class Check(Config):
    """One check's result in words a person understands."""

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None


class IndexAction(StrEnum):
    """What promotion does to the index."""

    KEEP = "keep"
    REBUILD = "rebuild"


class Decision(Config):
    """The gate's conclusion about exactly these two bundles."""

    verdict: Verdict
    champion_digest: str
    candidate_digest: str
    index_action: IndexAction
    checks: tuple[Check, ...]
    policy: Policy

    @property
    def reasons(self) -> list[str]:
        """The reasons that decided: those of the verdict's checks, or all for PASS."""
        return [check.reason for check in self.checks if self.verdict in (Verdict.PASS, check.verdict)]


def decide(champion: Report, candidate: Report, policy: Policy) -> Decision:
    """Judge a candidate against the champion; pure: the same reports give the same decision."""
    checks = tuple(_run_checks(champion, candidate, policy))
    verdicts = {check.verdict for check in checks}
    verdict = next((v for v in (Verdict.FAIL, Verdict.INCONCLUSIVE) if v in verdicts), Verdict.PASS)
    same_documents = champion.model.document_fingerprint == candidate.model.document_fingerprint
    return Decision(
        verdict=verdict,
        champion_digest=champion.model.digest,
        candidate_digest=candidate.model.digest,
        index_action=IndexAction.KEEP if same_documents else IndexAction.REBUILD,
        checks=checks,
        policy=policy,
    )


def _run_checks(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    comparable = _comparable(champion, candidate)
    yield comparable
    if comparable.verdict is Verdict.FAIL:
        return
    steps: list[Callable[[], Iterator[Check]]] = [
        lambda: _instruction_following(champion, candidate, policy),
        lambda: _quality(champion, candidate, policy),
        lambda: _controls(candidate, policy),
        lambda: _types(champion, candidate, policy),
        lambda: _serving(champion.serving, candidate.serving, policy),
    ]
    for step in steps:
        try:
            yield from step()
        except InfEmbedError as error:
            yield Check(name="scores", verdict=Verdict.FAIL, reason=f"the reports cannot be compared: {error}")


def _comparable(champion: Report, candidate: Report) -> Check:
    """Require the same suites, contents and topics in both reports."""
    ours = {scores.suite: scores for scores in candidate.suites}
    for theirs in champion.suites:
        mine = ours.pop(theirs.suite, None)
        if mine is None:
            return _failed("comparable", f"the candidate was not scored on suite {theirs.suite}; score it")
        if mine.digest != theirs.digest:
            return _failed(
                "comparable", f"suite {theirs.suite} differs between the reports (digests); score both again"
            )
        if {t.topic for t in mine.topics} != {t.topic for t in theirs.topics}:
            return _failed(
                "comparable", f"suite {theirs.suite}: the reports hold different topics; a run was cut short"
            )
        for measure in Measure:
            if mine.values_of(measure).keys() != theirs.values_of(measure).keys():
                return _failed(
                    "comparable", f"suite {theirs.suite}: {measure} is missing for some topics of one report"
                )
    if ours:
        return _failed("comparable", f"the champion was not scored on suite {', '.join(sorted(ours))}; score it")
    for report in (champion, candidate):
        if not report.strata(Measure.P_MRR):
            return _failed("comparable", f"{report.model.name} has no suite with changed instructions; add one")
    return Check(name="comparable", verdict=Verdict.PASS, reason="both were scored on the same suites and topics")


def _instruction_following(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    differences = _differences(champion, candidate, Measure.P_MRR)
    mean = statistics.macro_mean(differences)
    low = statistics.lower_bound(differences, confidence=policy.confidence)
    high = statistics.upper_bound(differences, confidence=policy.confidence)
    bound = 0.0 if policy.goal == "improve" else -policy.p_mrr_margin
    p_values = statistics.holm({suite: statistics.sign_flip_p_value(values) for suite, values in differences.items()})
    per_suite = ", ".join(
        f"{suite} {values.mean() * 100:+.1f} (p {p_values[suite]:.3f})" for suite, values in differences.items()
    )
    what = f"p-MRR changes by {mean * 100:+.1f} points, {_percent(policy)} bounds {low * 100:+.1f} to {high * 100:+.1f}"
    need = (
        "must be above 0" if policy.goal == "improve" else f"must not fall by more than {policy.p_mrr_margin * 100:.1f}"
    )
    yield Check(name="p-MRR", verdict=_above(low, high, bound), reason=f"{what}; it {need} ({per_suite})", value=mean)


def _quality(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    for measure, label in ((Measure.PLAIN_NDCG, "plain queries"), (Measure.NDCG, "queries as written")):
        differences = _differences(champion, candidate, measure)
        mean = statistics.macro_mean(differences)
        low = statistics.lower_bound(differences, confidence=policy.confidence)
        high = statistics.upper_bound(differences, confidence=policy.confidence)
        yield Check(
            name=f"{measure} ({label})",
            verdict=_above(low, high, -policy.ndcg_margin),
            reason=f"nDCG@10 of {label} changes by {mean * 100:+.2f} points, {_percent(policy)} bounds "
            f"{low * 100:+.2f} to {high * 100:+.2f}; it must not fall by more than {policy.ndcg_margin * 100:.1f}",
            value=mean,
        )
    worst, value = min(
        ((suite, float(values.mean())) for suite, values in candidate.strata(Measure.NDCG).items()), key=lambda s: s[1]
    )
    yield Check(
        name="nDCG floor",
        verdict=Verdict.PASS if value > policy.ndcg_floor else Verdict.FAIL,
        reason=f"lowest nDCG@10 is {value:.3f} (suite {worst}); the floor is {policy.ndcg_floor:.3f}",
        value=value,
    )


def _controls(candidate: Report, policy: Policy) -> Iterator[Check]:
    """Catch a model that demotes documents whatever the instruction says."""
    preserve = candidate.strata(Measure.PRESERVE_MRR)
    if preserve:
        mean = statistics.macro_mean(preserve)
        low = statistics.lower_bound(preserve, confidence=policy.confidence)
        high = statistics.upper_bound(preserve, confidence=policy.confidence)
        bound = policy.preserve_bound
        yield Check(
            name="preserve-MRR",
            verdict=_worst(_above(low, high, -bound), _above(-high, -low, -bound)),
            reason=f"documents that stay relevant move by {mean * 100:+.1f} points ({low * 100:+.1f} to "
            f"{high * 100:+.1f}); allowed is {bound * 100:.1f} either way",
            value=mean,
        )
    real, shuffled = candidate.strata(Measure.P_MRR), candidate.strata(Measure.SHUFFLED_P_MRR)
    gain = {suite: values - shuffled[suite] for suite, values in real.items()}
    low = statistics.lower_bound(gain, confidence=policy.confidence)
    high = statistics.upper_bound(gain, confidence=policy.confidence)
    yield Check(
        name="instruction shuffle",
        verdict=_above(low, high, 0.0),
        reason=f"p-MRR is {statistics.macro_mean(real) * 100:+.1f} with the real instructions and "
        f"{statistics.macro_mean(shuffled) * 100:+.1f} with another topic's; the difference ({low * 100:+.1f} to "
        f"{high * 100:+.1f}) must be above 0",
        value=statistics.macro_mean(gain),
    )


def _types(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """No instruction type may pay for the mean."""
    for kind in sorted({kind for scores in champion.suites for kind in scores.instruction_types}):
        strata = {}
        for theirs in champion.suites:
            before, after = theirs.values_of_type(kind), candidate.suite(theirs.suite).values_of_type(kind)
            if len(before) >= policy.fewest_topics_of_type:
                strata[theirs.suite] = statistics.paired_differences(before, after)
        if not strata:
            continue
        mean = statistics.macro_mean(strata)
        high = statistics.upper_bound(strata, confidence=policy.confidence)
        yield Check(
            name=f"type {kind}",
            verdict=Verdict.FAIL if high < -policy.type_loss else Verdict.PASS,
            reason=f"p-MRR on {kind} instructions changes by {mean * 100:+.1f} points (upper bound {high * 100:+.1f}); "
            f"a loss beyond {policy.type_loss * 100:.1f} fails",
            value=mean,
        )


def _serving(champion: ServingCosts | None, candidate: ServingCosts | None, policy: Policy) -> Iterator[Check]:
    if champion is None or candidate is None:
        if policy.requires_serving:
            yield _failed(
                "serving", "a report lacks serving costs; evaluate both bundles in one run of `infembed gate`"
            )
        return
    limits: list[tuple[str, float | None, float, str]] = [
        ("parity", candidate.parity_max_abs, policy.parity_max_abs, "largest difference from the checkpoint"),
        (
            "batch invariance",
            candidate.batch_invariance_max_abs,
            policy.batch_invariance_max_abs,
            "largest difference between a text alone and in a batch",
        ),
        (
            "latency",
            candidate.latency_p95_ms / champion.latency_p95_ms,
            policy.latency_ratio,
            f"p95 {candidate.latency_p95_ms:.1f} ms against {champion.latency_p95_ms:.1f} ms, ratio",
        ),
        (
            "memory",
            candidate.resident_mb / champion.resident_mb,
            policy.memory_ratio,
            f"{candidate.resident_mb:.0f} MB against {champion.resident_mb:.0f} MB, ratio",
        ),
    ]
    for name, value, limit, what in limits:
        if value is not None:
            verdict = Verdict.PASS if value <= limit else Verdict.FAIL
            yield Check(name=name, verdict=verdict, reason=f"{what} {value:.3g}; the limit is {limit:g}", value=value)
    yield Check(
        name="distinct vectors",
        verdict=Verdict.PASS if candidate.distinct_vectors > _FEWEST_DISTINCT else Verdict.FAIL,
        reason=f"{candidate.distinct_vectors:.0%} of different texts have different vectors; "
        f"more than {_FEWEST_DISTINCT:.0%} must",
        value=candidate.distinct_vectors,
    )


def _differences(champion: Report, candidate: Report, measure: Measure) -> dict[str, Values]:
    differences = {}
    for scores in champion.suites:
        before = scores.values_of(measure)
        if before:
            after = candidate.suite(scores.suite).values_of(measure)
            differences[scores.suite] = statistics.paired_differences(before, after)
    return differences


def _above(low: float, high: float, bound: float) -> Verdict:
    """PASS when the whole interval is above the bound, FAIL when none of it is."""
    if low > bound:
        return Verdict.PASS
    return Verdict.FAIL if high <= bound else Verdict.INCONCLUSIVE


def _worst(*verdicts: Verdict) -> Verdict:
    return max(verdicts, key=[Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL].index)


def _failed(name: str, reason: str) -> Check:
    return Check(name=name, verdict=Verdict.FAIL, reason=reason)


def _percent(policy: Policy) -> str:
    return f"one-sided {policy.confidence:.0%}"
