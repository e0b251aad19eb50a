"""The gate's checks, one by one."""

import numpy as np
import pytest

from evaluation.gate import Decision, IndexAction, Policy, Verdict, decide
from evaluation.report import Measure, Report, TopicScores
from tests.evaluation.gated import IMPROVE, MAINTAIN, check_of, failing, shifted, with_topics, without
from tests.evaluation.models import (
    COSTS,
)


@pytest.mark.parametrize(
    ("measure", "name"),
    [(Measure.PLAIN_NDCG, "nDCG@10 without instruction"), (Measure.NDCG, "nDCG@10 with instruction")],
)
def test_three_points_less_ndcg_fail_whatever_p_mrr_gains(champion: Report, measure: Measure, name: str) -> None:
    decision = decide(champion, shifted(shifted(champion, Measure.P_MRR, 0.2), measure, -0.03), IMPROVE)
    assert check_of(decision, "p-MRR").verdict is Verdict.PASS
    assert failing(decision) == {name}


def test_suites_without_instructions_do_not_dilute_a_loss_with_instruction(better: Report, champion: Report) -> None:
    """Two of three suites lose 1.4 points, which is 0.9 over all three."""
    worse = champion
    for suite in ("facets", "stances"):
        worse = shifted(worse, Measure.NDCG, -0.014, suite=suite)
    assert "nDCG@10 with instruction" in failing(decide(champion, worse, IMPROVE))


@pytest.mark.parametrize("measure", [Measure.NDCG, Measure.P_MRR])
def test_one_suite_may_not_pay_for_the_mean(champion: Report, better: Report, measure: Measure) -> None:
    other = "facets"
    bought = shifted(shifted(champion, measure, 0.3, suite=other), measure, -0.08, suite="stances")
    check = check_of(decide(champion, bought, IMPROVE), "suites")
    assert check.verdict is Verdict.FAIL
    assert f"stances {measure} (p 0.00" in check.reason


def test_a_small_noisy_gain_is_inconclusive_and_says_how_many_topics_it_takes(champion: Report) -> None:
    rng = np.random.default_rng(2)

    def noisy(topic: TopicScores) -> TopicScores:
        if Measure.P_MRR not in topic.values:
            return topic
        value = topic.values[Measure.P_MRR] + rng.normal(0.03, 0.3)
        return topic.model_copy(update={"values": topic.values | {Measure.P_MRR: value}})

    decision = decide(champion, with_topics(champion, noisy), IMPROVE)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.INCONCLUSIVE, 2)
    assert "times as many topics would settle a change of this size" in check_of(decision, "p-MRR").reason
    assert len(decision.reasons) == 1


def test_a_gain_that_only_the_bootstrap_sees_is_inconclusive(champion: Report) -> None:
    """The two tests assume different things of skewed differences; a promotion needs both."""
    scores = champion.suites[0].model_copy(update={"topics": champion.suites[0].topics[:12]})
    one = champion.model_copy(update={"suites": (scores,)})
    gains = iter([0.0, 0.1, -0.1, -0.1, 0.0, 0.2, 0.0, 0.1, 0.5, 1.1, 0.6, -0.1])

    def gained(topic: TopicScores) -> TopicScores:
        value = topic.values[Measure.P_MRR] + next(gains)
        return topic.model_copy(update={"values": topic.values | {Measure.P_MRR: value}})

    check = check_of(decide(one, with_topics(one, gained), IMPROVE), "p-MRR")
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "bounds +4.3 and +50.9) points, sign-flip p 0.062" in check.reason


def test_the_reason_gives_the_sign_flip_test_and_holms_p_by_suite(champion: Report, better: Report) -> None:
    reason = check_of(decide(champion, better, IMPROVE), "p-MRR").reason
    assert "sign-flip p 0.000" in reason
    assert "gains with Holm's p: facets +38.4 (p 0.000), stances +44.3 (p 0.000)" in reason


def test_a_loss_within_the_margin_is_maintained_and_one_beyond_is_not(champion: Report) -> None:
    assert decide(champion, shifted(champion, Measure.P_MRR, -0.015), MAINTAIN).verdict is Verdict.PASS
    assert failing(decide(champion, shifted(champion, Measure.P_MRR, -0.025), MAINTAIN)) == {"p-MRR"}
    assert "p-MRR" in failing(decide(champion, shifted(champion, Measure.P_MRR, -0.015), IMPROVE))


def test_documents_that_stay_relevant_may_rise_and_not_fall(champion: Report, better: Report) -> None:
    risen = better.macro(Measure.PRESERVE_MRR)
    assert risen is not None
    assert risen.high < 0, "those withdrawn made room"
    fallen = shifted(better, Measure.PRESERVE_MRR, 0.25)
    assert failing(decide(champion, fallen, IMPROVE)) == {"preserve-MRR"}


def test_without_documents_that_stay_relevant_the_gate_stays_open_unless_told(champion: Report, better: Report) -> None:
    pair = without(champion, Measure.PRESERVE_MRR), without(better, Measure.PRESERVE_MRR)
    assert decide(*pair, IMPROVE).verdict is Verdict.INCONCLUSIVE
    assert decide(*pair, Policy(requires_preserve=False)).verdict is Verdict.PASS


def test_without_instructions_to_exchange_the_gate_stays_open(champion: Report, better: Report) -> None:
    pair = without(champion, Measure.SHUFFLED_P_MRR), without(better, Measure.SHUFFLED_P_MRR)
    decision = decide(*pair, IMPROVE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "all topics share one changed instruction" in decision.reasons[0]


def _with_type(report: Report, kind: str, value: float) -> Report:
    def change(topic: TopicScores) -> TopicScores:
        return topic.model_copy(update={"by_type": {k: value if k == kind else v for k, v in topic.by_type.items()}})

    return with_topics(report, change)


def test_one_type_may_not_pay_for_the_mean(champion: Report, better: Report) -> None:
    assert failing(decide(champion, _with_type(better, "exclusion", 0.1), IMPROVE)) == {"type exclusion"}


def test_no_type_may_be_followed_backwards_even_where_the_champion_does(champion: Report, better: Report) -> None:
    pair = _with_type(champion, "exclusion", -0.4), _with_type(better, "exclusion", -0.35)
    assert failing(decide(*pair, IMPROVE)) == {"type exclusion"}


def test_a_type_of_few_topics_is_reported_and_not_judged(champion: Report, better: Report) -> None:
    lost = _with_type(better, "stance", -0.9)
    check = check_of(decide(champion, lost, Policy(fewest_topics_of_type=50)), "type stance")
    assert check.verdict is Verdict.PASS
    assert "stance instructions have 40 topics" in check.reason


def _costing(report: Report, **costs: float | str | None) -> Report:
    return report.model_copy(update={"serving": COSTS.model_copy(update=costs)})


@pytest.mark.parametrize(
    ("costs", "name"),
    [
        ({"latency_p95_ms": 6.1}, "latency"),
        ({"resident_mb": 361.0}, "memory"),
        ({"parity_max_abs": 2e-4}, "parity"),
        ({"batch_invariance_max_abs": 1e-2}, "batch invariance"),
        ({"batch_invariance_max_abs": float("nan")}, "batch invariance"),
        ({"distinct_vectors": 0.5}, "distinct vectors"),
        ({"measured_in": "another run"}, "same run"),
        ({"measured_in": "another run", "latency_p95_ms": 1.0}, "same run"),
    ],
)
def test_a_serving_cost_over_its_budget_fails(
    champion: Report, better: Report, costs: dict[str, float | str], name: str
) -> None:
    assert failing(decide(champion, _costing(better, **costs), IMPROVE)) == {name}


def test_costs_of_unknown_runs_are_not_taken_for_one_run(champion: Report, better: Report) -> None:
    pair = _costing(champion, measured_in=""), _costing(better, measured_in="")
    assert failing(decide(*pair, IMPROVE)) == {"same run"}


def test_reports_without_serving_costs_fail_unless_the_policy_allows_it(champion: Report, better: Report) -> None:
    bare = better.model_copy(update={"serving": None})
    assert "no serving costs in the report of the candidate" in decide(champion, bare, IMPROVE).reasons[0]
    assert decide(champion, bare, Policy(requires_serving=False)).verdict is Verdict.PASS


def test_parity_that_was_not_measured_is_said_or_refused(champion: Report, better: Report) -> None:
    open_ended = _costing(better, parity_max_abs=None)
    check = check_of(decide(champion, open_ended, IMPROVE), "parity")
    assert (check.verdict, "was not measured in this run" in check.reason) == (Verdict.PASS, True)
    assert failing(decide(champion, open_ended, Policy(requires_parity=True))) == {"parity"}


def test_an_unchanged_document_tower_keeps_the_index(champion: Report, better: Report) -> None:
    decision = decide(champion, better, IMPROVE)
    assert decision.index_action is IndexAction.KEEP
    assert "the index stays as it is" in check_of(decision, "index").reason


def test_a_new_document_tower_names_the_rebuild_and_promotes_only_the_pair(champion: Report, better: Report) -> None:
    model = better.model.model_copy(update={"document_fingerprint": "e" * 64})
    decision = decide(champion, better.model_copy(update={"model": model}), IMPROVE)
    assert (decision.verdict, decision.index_action) == (Verdict.PASS, IndexAction.REBUILD)
    assert decision.document_fingerprint == "e" * 64
    reason = check_of(decision, "index").reason
    assert "fingerprint ffffffffffff before, eeeeeeeeeeee now" in reason
    assert "promote bundle and index together, as a pair or not at all" in reason


def test_the_order_of_suites_in_a_report_changes_nothing(champion: Report, better: Report) -> None:
    turned = [report.model_copy(update={"suites": report.suites[::-1]}) for report in (champion, better)]
    one, other = decide(champion, better, IMPROVE), decide(turned[0], turned[1], IMPROVE)
    assert [(c.name, c.verdict, c.value) for c in one.checks] == [(c.name, c.verdict, c.value) for c in other.checks]


def test_every_check_gives_a_reason_in_words(champion: Report, better: Report) -> None:
    for check in decide(champion, better, IMPROVE).checks:
        assert len(check.reason) > 20


def test_a_decision_survives_its_file(champion: Report, better: Report) -> None:
    decision = decide(champion, better, IMPROVE)
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
