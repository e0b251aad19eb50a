from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from evaluation.canary.decision import CanaryDecision
from evaluation.canary.judging import judge
from evaluation.canary.observations import FailureKind, Outcome, Stop, Visit
from evaluation.canary.policy import CanaryPolicy
from evaluation.gate import Check, Decision, Verdict
from tests.evaluation.canary.observed import (
    DOCUMENTS,
    OTHERS,
    Outcomes,
    answer,
    facts,
    failure,
    observations,
    probe,
)

POLICY = CanaryPolicy(fewest_probes=0)
NEEDS_PROBES = CanaryPolicy()


def _check(decision: CanaryDecision, name: str) -> Check:
    return next(check for check in decision.checks if check.name == name)


def _failed(decision: CanaryDecision) -> set[str]:
    return {check.name for check in decision.checks if check.verdict is Verdict.FAIL}


def _open(decision: CanaryDecision) -> set[str]:
    return {check.name for check in decision.checks if check.verdict is Verdict.INCONCLUSIVE}


def test_identical_services_pass() -> None:
    decision = judge(observations(), POLICY)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.PASS, 0), decision.reasons
    assert {check.name for check in decision.checks} == {
        "index",
        "enough queries",
        "errors",
        "zero results",
        "overlap",
        "rank correlation",
        "score drift",
        "latency p50",
        "latency p95",
    }


@pytest.mark.parametrize(
    ("champion", "candidate", "verdict"),
    [("a", "a", Verdict.PASS), ("a", "b", Verdict.FAIL), ("b", "a", Verdict.INCONCLUSIVE)],
)
def test_a_decision_of_the_gate_must_be_about_what_is_served(champion: str, candidate: str, verdict: Verdict) -> None:
    gate = Decision.model_construct(champion_digest=champion * 64, candidate_digest=candidate * 64)
    decision = judge(observations(), POLICY, gate)
    assert (_check(decision, "gate").verdict, decision.verdict) == (verdict, verdict)


def test_the_same_observations_give_the_same_decision() -> None:
    rng = np.random.default_rng(0)
    noisy = observations(lambda _: answer(latency_ms=rng.uniform(5, 9)), lambda _: answer(latency_ms=rng.uniform(5, 9)))
    assert judge(noisy, POLICY) == judge(noisy, POLICY)


def test_a_candidate_whose_answers_have_nothing_in_common_fails() -> None:
    decision = judge(observations(candidate=lambda _: answer(OTHERS)), POLICY)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.FAIL, 1)
    assert _failed(decision) == {"overlap"}
    assert _check(decision, "overlap").value == 0


def test_the_worst_overlap_and_its_query_are_named() -> None:
    decision = judge(observations(candidate=lambda i: answer(OTHERS if i == 7 else DOCUMENTS)), POLICY)
    assert "worst 0.00, 'query 7'" in _check(decision, "overlap").reason
    assert decision.verdict is Verdict.PASS


def test_an_overlap_whose_interval_straddles_the_floor_is_inconclusive() -> None:
    mixed = observations(candidate=lambda i: answer(DOCUMENTS if i % 3 == 0 else OTHERS))
    assert _check(judge(mixed, POLICY), "overlap").verdict is Verdict.INCONCLUSIVE


def test_the_same_documents_in_reversed_order_fail_the_rank_correlation_alone() -> None:
    decision = judge(observations(candidate=lambda _: answer(DOCUMENTS[::-1])), POLICY)
    assert _failed(decision) == {"rank correlation"}
    assert _check(decision, "rank correlation").value == pytest.approx(-1)


def test_two_documents_have_no_order_to_judge() -> None:
    two = observations(lambda _: answer(DOCUMENTS[:2]), lambda _: answer(DOCUMENTS[:2]), k=2)
    decision = judge(two, POLICY)
    assert decision.verdict is Verdict.PASS
    assert all(check.name != "rank correlation" for check in decision.checks)


@pytest.mark.parametrize("best", [0.6, 1.2])
def test_scores_on_another_scale_fail_either_way(best: float) -> None:
    assert _failed(judge(observations(candidate=lambda _: answer(best=best)), POLICY)) == {"score drift"}


def test_a_candidate_with_server_errors_fails() -> None:
    decision = judge(observations(candidate=lambda i: failure() if i % 5 == 0 else answer()), POLICY)
    assert decision.verdict is Verdict.FAIL
    assert _failed(decision) == {"errors"}
    assert "12 of 60" in _check(decision, "errors").reason
    assert "answered 500" in _check(decision, "errors").reason
    assert decision.candidate.failures == {FailureKind.SERVER_ERROR: 12}


def test_one_lost_connection_in_sixty_is_inconclusive_and_in_two_hundred_within_the_limit() -> None:
    def once(number: int) -> Outcome:
        return failure(FailureKind.UNREACHABLE, "reset") if number == 30 else answer()

    assert _open(judge(observations(candidate=once, n=60), POLICY)) == {"errors"}
    assert judge(observations(candidate=once, n=200), POLICY).verdict is Verdict.PASS


def test_what_both_services_refuse_is_no_fault_of_the_candidate() -> None:
    refused: Outcomes = lambda i: failure(FailureKind.REFUSED, "answered 422 (too long)") if i < 5 else answer()  # noqa: E731
    decision = judge(observations(refused, refused), POLICY)
    assert decision.verdict is Verdict.PASS
    assert "both refused 5 searches, the first with: answered 422 (too long)" in decision.checks[1].reason


def test_failures_of_stable_alone_do_not_fail_the_candidate() -> None:
    decision = judge(observations(lambda i: failure() if i < 5 else answer()), POLICY)
    assert decision.verdict is Verdict.PASS
    assert decision.stable.failures == {FailureKind.SERVER_ERROR: 5}


def test_a_candidate_that_finds_nothing_fails() -> None:
    decision = judge(observations(candidate=lambda i: answer([] if i % 4 == 0 else DOCUMENTS)), POLICY)
    assert _failed(decision) == {"zero results"}
    assert decision.candidate.n_without_result == 15


def test_nothing_found_on_either_side_cannot_be_judged() -> None:
    decision = judge(observations(lambda _: answer([]), lambda _: answer([])), POLICY)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "zero results" in _open(decision)


def test_too_few_queries_are_inconclusive() -> None:
    decision = judge(observations(n=49), POLICY)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.INCONCLUSIVE, 2)
    assert _open(decision) == {"enough queries"}


def test_five_queries_leave_every_interval_open_without_an_error() -> None:
    decision = judge(observations(n=5), POLICY)
    assert _open(decision) >= {"enough queries", "overlap", "latency p50", "latency p95"}


def test_a_repeated_query_is_one_query() -> None:
    one = observations(n=60)
    repeated = replace(one, seen=one.seen[:20] * 3)
    assert _check(judge(repeated, POLICY), "enough queries").value == 20


def test_a_candidate_twice_as_slow_fails() -> None:
    rng = np.random.default_rng(1)
    slow = observations(
        lambda _: answer(latency_ms=rng.uniform(9, 11)), lambda _: answer(latency_ms=rng.uniform(19, 21))
    )
    assert _failed(judge(slow, POLICY)) == {"latency p50", "latency p95"}


def test_a_candidate_a_tenth_slower_passes() -> None:
    assert judge(observations(candidate=lambda _: answer(latency_ms=11)), POLICY).verdict is Verdict.PASS


def test_a_slower_candidate_on_noisy_machines_is_inconclusive() -> None:
    rng = np.random.default_rng(2)
    noisy = observations(
        lambda _: answer(latency_ms=rng.lognormal(2, 0.8)), lambda _: answer(latency_ms=rng.lognormal(2.2, 0.8))
    )
    assert "latency p50" in _open(judge(noisy, POLICY))


def test_a_slow_tail_fails_p95_alone() -> None:
    tail = observations(candidate=lambda i: answer(latency_ms=80 if i % 6 == 0 else 10), n=200)
    assert _failed(judge(tail, POLICY)) == {"latency p95"}


def test_a_cold_start_is_not_held_against_the_candidate() -> None:
    cold = observations(candidate=lambda i: answer(latency_ms=500 if i < 5 else 10))
    decision = judge(cold, POLICY)
    assert decision.verdict is Verdict.PASS
    assert decision.candidate.p95_ms == 10


@pytest.mark.slow
def test_equal_services_with_noise_of_their_own_almost_never_fail() -> None:
    verdicts = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        same: Outcomes = lambda _, rng=rng: answer(latency_ms=rng.lognormal(2, 0.4))  # type: ignore[misc]  # noqa: E731
        verdicts.append(judge(observations(same, same, n=100), POLICY).verdict)
    assert verdicts.count(Verdict.FAIL) <= 1
    assert verdicts.count(Verdict.PASS) >= 10


FOLLOWS = (answer(DOCUMENTS), answer([*DOCUMENTS[1:], "d0"]))
IGNORES = (answer(DOCUMENTS), answer(DOCUMENTS))


def test_a_candidate_that_stopped_following_instructions_fails_live_p_mrr() -> None:
    probes = tuple(probe(FOLLOWS, IGNORES, number=number) for number in range(20))
    one = observations()
    decision = judge(replace(one, seen=one.seen + probes), NEEDS_PROBES)
    assert _failed(decision) == {"live p-MRR"}
    assert decision.stable.p_mrr == pytest.approx(0.9)
    assert decision.candidate.p_mrr == 0
    assert _check(decision, "live p-MRR").value == pytest.approx(-0.9)


def test_probes_that_both_follow_pass() -> None:
    probes = tuple(probe(FOLLOWS, FOLLOWS, number=number) for number in range(20))
    one = observations()
    assert judge(replace(one, seen=one.seen + probes), NEEDS_PROBES).verdict is Verdict.PASS


def test_probes_without_documents_show_sensitivity_only() -> None:
    half = (answer(DOCUMENTS), answer(DOCUMENTS[:5] + OTHERS[:5]))
    probes = tuple(probe(half, IGNORES, withdrawn=(), number=number) for number in range(20))
    one = replace(observations(), seen=observations().seen + probes)
    assert _open(judge(one, NEEDS_PROBES)) == {"live p-MRR"}
    decision = judge(one, POLICY)
    assert decision.verdict is Verdict.PASS
    assert (decision.stable.instruction_sensitivity, decision.candidate.instruction_sensitivity) == (0.5, 0.0)
    assert decision.stable.p_mrr is None


def test_probes_whose_documents_nobody_finds_do_not_count() -> None:
    probes = tuple(probe(FOLLOWS, FOLLOWS, withdrawn=("gone",), number=number) for number in range(30))
    one = observations()
    assert _check(judge(replace(one, seen=one.seen + probes), NEEDS_PROBES), "live p-MRR").value == 0


def _visited(role: str, visit: Visit, **more: Any) -> CanaryDecision:
    changes: dict[str, Any] = {role: visit, **more}
    return judge(replace(observations(), **changes), POLICY)


def test_an_unreachable_candidate_fails_in_a_sentence() -> None:
    down = failure(FailureKind.UNREACHABLE, "connection refused")
    decision = _visited("candidate", Visit("http://candidate", down, None), seen=())
    assert decision.verdict is Verdict.FAIL
    assert decision.reasons == [
        "the candidate service at http://candidate did not answer GET /info: connection refused"
    ]


def test_an_unreachable_stable_service_is_inconclusive_whatever_the_candidate_is() -> None:
    down = failure(FailureKind.UNREACHABLE, "connection refused")
    decision = _visited("stable", Visit("http://stable", down, None), seen=())
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.reasons == [
        "the stable service at http://stable did not answer GET /info: connection refused; nothing to compare with"
    ]
    both = replace(observations(n=0), stable=Visit("http://s", down, None), candidate=Visit("http://c", down, None))
    assert judge(both, POLICY).verdict is Verdict.INCONCLUSIVE


def test_a_pair_of_new_bundle_and_new_index_passes_and_is_named() -> None:
    new = facts(sha="b" * 64, fingerprint="e" * 64, generation="gen-2")
    decision = _visited("candidate", Visit("http://candidate", new, new))
    assert decision.verdict is Verdict.PASS
    reason = _check(decision, "index").reason
    assert "generation gen-1 in stable, gen-2 in the candidate, another document fingerprint" in reason


@pytest.mark.parametrize(("n", "verdict"), [(300, Verdict.FAIL), (338, Verdict.PASS), (400, Verdict.INCONCLUSIVE)])
def test_missing_documents_fail_and_additional_ones_leave_it_open(n: int, verdict: Verdict) -> None:
    decision = _visited("candidate", Visit("http://candidate", facts(n=n), facts(n=n)))
    assert _check(decision, "index").verdict is verdict
    assert f"340 documents in stable and {n} in the candidate" in _check(decision, "index").reason


def test_a_candidate_without_the_collection_fails() -> None:
    other = facts(name="else")
    decision = _visited("candidate", Visit("http://candidate", other, None), collection="demo", seen=())
    assert _failed(decision) == {"index"}
    assert "no collection 'demo'; there is else" in _check(decision, "index").reason


def test_answers_from_different_collections_are_inconclusive() -> None:
    other = facts(name="else")
    elsewhere = observations(candidate=lambda _: answer(collection="else"))
    decision = judge(replace(elsewhere, candidate=Visit("http://candidate", other, other)), POLICY)
    assert _open(decision) == {"index"}


@pytest.mark.parametrize("role", ["stable", "candidate"])
def test_a_service_that_changes_during_the_run_is_inconclusive(role: str) -> None:
    decision = _visited(role, Visit("http://service", facts(), facts(generation="gen-2")))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert f"the {role} service changed" in decision.reasons[0]


@pytest.mark.parametrize(("role", "verdict"), [("stable", Verdict.INCONCLUSIVE), ("candidate", Verdict.FAIL)])
def test_a_service_gone_at_the_end_is_noticed(role: str, verdict: Verdict) -> None:
    decision = _visited(role, Visit("http://service", facts(), failure(FailureKind.UNREACHABLE, "refused")))
    assert decision.verdict is verdict
    assert f"the {role} service was gone at the end" in decision.reasons[0]


@pytest.mark.parametrize(
    ("stop", "verdict"),
    [
        (Stop.CANDIDATE_FAILS, Verdict.FAIL),
        (Stop.STABLE_FAILS, Verdict.INCONCLUSIVE),
        (Stop.BOTH_FAIL, Verdict.INCONCLUSIVE),
        (Stop.TIME_LIMIT, Verdict.PASS),
    ],
)
def test_a_run_that_stopped_early_says_why(stop: Stop, verdict: Verdict) -> None:
    decision = judge(replace(observations(), stop=stop), POLICY)
    assert decision.verdict is verdict
    assert any(stop in check.reason for check in decision.checks)


def test_a_decision_survives_its_file() -> None:
    decision = judge(observations(candidate=lambda i: failure() if i % 5 == 0 else answer()), POLICY)
    assert CanaryDecision.model_validate_json(decision.model_dump_json()) == decision


@pytest.mark.parametrize(
    "change",
    [
        {"fewest_probes": 5},
        {"warmup_queries": 45},
        {"confidence": 1.0},
        {"latency_p50_ratio": 0.9},
        {"fewest_queries": 3},
        {"overlap_flor": 0.5},
    ],
)
def test_an_impossible_policy_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CanaryPolicy.model_validate(change)


def test_the_policy_in_the_repository_is_the_default() -> None:
    path = Path(__file__).parents[3] / "configs" / "canary.toml"
    assert CanaryPolicy.from_toml(path) == CanaryPolicy()
    written = {line.split(" = ")[0] for line in path.read_text().splitlines() if " = " in line and line[0] != "#"}
    assert written == set(CanaryPolicy.model_fields)
