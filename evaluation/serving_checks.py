"""The gate's checks of what serving the candidate costs, and whether it serves what was trained."""

from collections.abc import Iterator
from math import isfinite

from evaluation.policy import Policy
from evaluation.report import Report, ServingCosts
from evaluation.verdict import Check, Verdict, failed, passes

FEWEST_DISTINCT = 0.9


def check_serving(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """Hold the candidate's costs against the policy's limits and the champion's costs of the same run."""
    theirs, ours = champion.serving, candidate.serving
    missing = [role for role, costs in (("champion", theirs), ("candidate", ours)) if costs is None]
    if theirs is None or ours is None:
        if policy.requires_serving:
            yield failed(
                "serving",
                f"no serving costs in the report of the {' and the '.join(missing)}; give both bundles to one run of "
                "`infembed gate`, or set requires_serving = false",
            )
        return
    yield _parity(ours, policy)
    yield _limit(
        "batch invariance",
        ours.batch_invariance_max_abs,
        policy.batch_invariance_max_abs,
        "largest difference of an element between a text alone and in a batch",
    )
    yield from _budgets(theirs, ours, policy)
    yield Check(
        name="distinct vectors",
        verdict=passes(ours.distinct_vectors > FEWEST_DISTINCT),
        reason=f"{ours.distinct_vectors:.0%} of different texts have vectors of their own; "
        f"more than {FEWEST_DISTINCT:.0%} must",
        value=ours.distinct_vectors,
    )


def _parity(costs: ServingCosts, policy: Policy) -> Check:
    if costs.parity_max_abs is not None:
        return _limit(
            "parity",
            costs.parity_max_abs,
            policy.parity_max_abs,
            "largest difference of an element from the checkpoint",
        )
    if policy.requires_parity:
        return failed("parity", "parity with the checkpoint was not measured and requires_parity is true; measure it")
    return Check(
        name="parity",
        verdict=Verdict.PASS,
        reason="parity with the checkpoint was not measured in this run, and requires_parity is false",
    )


def _budgets(champion: ServingCosts, candidate: ServingCosts, policy: Policy) -> Iterator[Check]:
    if not candidate.measured_in or champion.measured_in != candidate.measured_in:
        yield failed(
            "same run",
            f"the champion's costs come from run {champion.measured_in or 'unknown'}, the candidate's from "
            f"{candidate.measured_in or 'unknown'}: other hours and machines cannot be compared; give both bundles to "
            "one run of `infembed gate`",
        )
        return
    yield _limit(
        "latency",
        candidate.latency_p95_ms / champion.latency_p95_ms,
        policy.latency_ratio,
        f"p95 {candidate.latency_p95_ms:.1f} ms, the champion's {champion.latency_p95_ms:.1f} ms in one run, ratio",
    )
    yield _limit(
        "memory",
        candidate.resident_mb / champion.resident_mb,
        policy.memory_ratio,
        f"{candidate.resident_mb:.0f} MB, the champion's {champion.resident_mb:.0f} MB in one run, ratio",
    )


def _limit(name: str, value: float, limit: float, what: str) -> Check:
    return Check(
        name=name,
        verdict=passes(value <= limit),
        reason=f"{what} {value:.4g}; the limit is {limit:g}",
        value=value if isfinite(value) else None,
    )
