from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from evaluation.gate import Check, Decision, IndexAction, Policy, Verdict, decide
from evaluation.report import Measure, Report
from evaluation.suites.layout import Suite
from infembed.errors import NonFiniteError
from tests.evaluation.models import (
    COSTS,
    CheatingEncoder,
    WeighingEncoder,
    demote_everything,
    facet_suite,
    random_vectors,
    report_of,
)

POLICY = Policy(preserve_bound=0.3)


@pytest.fixture(scope="module")
def suites() -> list[Suite]:
    return [facet_suite(name="one"), facet_suite(name="two", n_topics=30)]


@pytest.fixture(scope="module")
def champion(suites: list[Suite]) -> Report:
    return report_of(WeighingEncoder(0.2), suites, name="champion")


@pytest.fixture(scope="module")
def better(suites: list[Suite]) -> Report:
    return report_of(WeighingEncoder(0.6), suites, name="better")


def _check(decision: Decision, name: str) -> Check:
    return next(check for check in decision.checks if check.name.startswith(name))


def test_a_better_model_passes(champion: Report, better: Report) -> None:
    decision = decide(champion, better, POLICY)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.PASS, 0), decision.reasons
    assert decision.index_action is IndexAction.KEEP


def test_the_champion_is_no_improvement_on_itself(champion: Report) -> None:
    decision = decide(champion, champion, POLICY)
    assert decision.verdict is Verdict.FAIL
    assert _check(decision, "p-MRR").verdict is Verdict.FAIL


def test_the_champion_maintains_itself(champion: Report) -> None:
    assert decide(champion, champion, POLICY.model_copy(update={"goal": "maintain"})).verdict is Verdict.PASS


def test_a_model_that_ignores_instructions_fails(champion: Report, suites: list[Suite]) -> None:
    decision = decide(champion, report_of(WeighingEncoder(0), suites, name="deaf"), POLICY)
    assert decision.verdict is Verdict.FAIL
    assert _check(decision, "instruction shuffle").verdict is not Verdict.PASS


def test_random_vectors_fail(champion: Report, suites: list[Suite]) -> None:
    decision = decide(champion, report_of(CheatingEncoder(random_vectors), suites, name="random"), POLICY)
    assert decision.verdict is Verdict.FAIL
    assert _check(decision, "nDCG floor").verdict is Verdict.FAIL


def test_demoting_everything_raises_p_mrr_and_fails(champion: Report, suites: list[Suite]) -> None:
    candidate = report_of(CheatingEncoder(demote_everything), suites, name="demoter")
    decision = decide(champion, candidate, POLICY)
    assert _check(decision, "p-MRR").verdict is Verdict.PASS
    assert _check(decision, "preserve-MRR").verdict is Verdict.FAIL
    assert decision.verdict is Verdict.FAIL


def test_constant_vectors_fail(champion: Report, suites: list[Suite]) -> None:
    constant = CheatingEncoder(lambda vectors, _: np.full_like(vectors, 0.125))
    costs = COSTS.model_copy(update={"distinct_vectors": 0.01})
    decision = decide(champion, report_of(constant, suites, name="constant", costs=costs), POLICY)
    assert decision.verdict is Verdict.FAIL
    assert _check(decision, "distinct vectors").verdict is Verdict.FAIL


def test_vectors_that_are_not_numbers_never_become_a_report(suites: list[Suite]) -> None:
    broken = CheatingEncoder(lambda vectors, _: np.full_like(vectors, np.nan))
    with pytest.raises(NonFiniteError):
        report_of(broken, suites, name="nan")


def _with(report: Report, measure: Measure, shift: float) -> Report:
    suites = [
        scores.model_copy(
            update={
                "topics": tuple(
                    topic.model_copy(update={"values": topic.values | {measure: topic.values[measure] + shift}})
                    for topic in scores.topics
                )
            }
        )
        for scores in report.suites
    ]
    return report.model_copy(update={"suites": tuple(suites)})


@pytest.mark.parametrize("measure", [Measure.NDCG, Measure.PLAIN_NDCG])
def test_three_points_less_quality_fail_whatever_p_mrr_gains(
    champion: Report, better: Report, measure: Measure
) -> None:
    worse = _with(_with(champion, Measure.P_MRR, 0.2), measure, -0.03)
    decision = decide(champion, worse, POLICY)
    assert _check(decision, "p-MRR").verdict is Verdict.PASS
    assert _check(decision, str(measure)).verdict is Verdict.FAIL
    assert decision.verdict is Verdict.FAIL


def test_a_truncated_run_fails(champion: Report, better: Report) -> None:
    first, second = better.suites
    cut = better.model_copy(update={"suites": (first.model_copy(update={"topics": first.topics[:-1]}), second)})
    decision = decide(champion, cut, POLICY)
    assert (decision.verdict, len(decision.checks)) == (Verdict.FAIL, 1)
    assert "cut short" in decision.checks[0].reason


def test_a_missing_suite_fails_on_either_side(champion: Report, better: Report) -> None:
    one = better.model_copy(update={"suites": better.suites[:1]})
    assert "not scored on suite two" in decide(champion, one, POLICY).checks[0].reason
    assert "champion was not scored on suite two" in decide(one, better, POLICY).checks[0].reason


def test_another_version_of_a_suite_fails(champion: Report, better: Report) -> None:
    first, second = better.suites
    other = better.model_copy(update={"suites": (first.model_copy(update={"digest": "0" * 64}), second)})
    assert "differs between the reports" in decide(champion, other, POLICY).checks[0].reason


def test_a_small_noisy_gain_is_inconclusive(champion: Report) -> None:
    rng = np.random.default_rng(0)
    suites = []
    for scores in champion.suites:
        topics = tuple(
            topic.model_copy(
                update={"values": topic.values | {Measure.P_MRR: topic.values[Measure.P_MRR] + rng.normal(0.01, 0.3)}}
            )
            for topic in scores.topics
        )
        suites.append(scores.model_copy(update={"topics": topics}))
    noisy = champion.model_copy(update={"suites": tuple(suites)})
    decision = decide(champion, noisy, POLICY)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.INCONCLUSIVE, 2)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"latency_p95_ms": 6.1}, "latency"),
        ({"resident_mb": 361.0}, "memory"),
        ({"parity_max_abs": 2e-4}, "parity"),
        ({"batch_invariance_max_abs": 1e-2}, "batch invariance"),
    ],
)
def test_a_serving_cost_over_its_budget_fails(
    champion: Report, better: Report, change: dict[str, float], name: str
) -> None:
    assert better.serving is not None
    costly = better.model_copy(update={"serving": better.serving.model_copy(update=change)})
    decision = decide(champion, costly, POLICY)
    assert decision.verdict is Verdict.FAIL
    assert [check.name for check in decision.checks if check.verdict is Verdict.FAIL] == [name]


def test_reports_without_serving_costs_fail_unless_the_policy_allows_it(champion: Report, better: Report) -> None:
    bare = better.model_copy(update={"serving": None})
    assert decide(champion, bare, POLICY).verdict is Verdict.FAIL
    assert decide(champion, bare, POLICY.model_copy(update={"requires_serving": False})).verdict is Verdict.PASS


def test_one_type_may_not_pay_for_the_mean(champion: Report, better: Report) -> None:
    suites = []
    for scores in better.suites:
        topics = tuple(t.model_copy(update={"by_type": t.by_type | {"exclusion": -0.5}}) for t in scores.topics)
        suites.append(scores.model_copy(update={"topics": topics}))
    decision = decide(champion, better.model_copy(update={"suites": tuple(suites)}), POLICY)
    assert _check(decision, "type exclusion").verdict is Verdict.FAIL
    assert _check(decision, "type inclusion").verdict is Verdict.PASS


def test_a_new_document_tower_requires_a_rebuilt_index(champion: Report, better: Report) -> None:
    model = better.model.model_copy(update={"document_fingerprint": "e" * 64})
    decision = decide(champion, better.model_copy(update={"model": model}), POLICY)
    assert (decision.verdict, decision.index_action) == (Verdict.PASS, IndexAction.REBUILD)


def test_every_check_gives_a_reason_in_words(champion: Report, better: Report) -> None:
    for check in decide(champion, better, POLICY).checks:
        assert len(check.reason) > 20


def test_a_decision_survives_its_file(champion: Report, better: Report) -> None:
    decision = decide(champion, better, POLICY)
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


@pytest.mark.parametrize(
    "change",
    [
        {"ndcg_margin": 0},
        {"ndcg_margin": 0.5},
        {"confidence": 1.0},
        {"latency_ratio": 0.5},
        {"goal": "maintain", "p_mrr_margin": 0.19, "type_loss": 0.05},
        {"unknown": 1},
    ],
)
def test_an_impossible_policy_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(change)


def test_the_policy_in_the_repository_is_the_default() -> None:
    assert Policy.from_toml(Path(__file__).parents[2] / "configs" / "gate.toml") == Policy()
