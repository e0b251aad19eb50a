from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.gate_power import promotions
from evaluation.gate import Check, Decision, IndexAction, Policy, Verdict, decide
from evaluation.report import Measure, Report, TopicScores, load_report, save_report
from evaluation.suites.layout import Suite
from infembed.errors import AlteredArtefactError, BadInputError, NonFiniteError
from tests.evaluation.models import (
    COSTS,
    CheatingEncoder,
    ConstantEncoder,
    FollowingEncoder,
    changed_instructions,
    demote_under,
    facet_suite,
    plain_suite,
    random_vectors,
    report_of,
    stance_suite,
)

IMPROVE, MAINTAIN = Policy(), Policy(goal="maintain")
DEFAULT_POLICY = Path(__file__).parents[2] / "configs" / "gate.toml"


@pytest.fixture(scope="module")
def suites() -> list[Suite]:
    return [facet_suite(), stance_suite(), plain_suite()]


@pytest.fixture(scope="module")
def champion(suites: list[Suite]) -> Report:
    return report_of(FollowingEncoder(0.15), suites, name="champion")


@pytest.fixture(scope="module")
def better(suites: list[Suite]) -> Report:
    return report_of(FollowingEncoder(0.5), suites, name="better")


def _check(decision: Decision, name: str) -> Check:
    return next(check for check in decision.checks if check.name == name)


def _failing(decision: Decision) -> set[str]:
    return {check.name for check in decision.checks if check.verdict is Verdict.FAIL}


def _with_topics(report: Report, change: Callable[[TopicScores], TopicScores], *, suite: str | None = None) -> Report:
    """Change every topic of all suites or of one; the result is another model's."""
    suites = tuple(
        scores.model_copy(update={"topics": tuple(change(topic) for topic in scores.topics)})
        if suite in (None, scores.suite)
        else scores
        for scores in report.suites
    )
    model = report.model.model_copy(update={"digest": f"{report.model.digest} changed"})
    return report.model_copy(update={"suites": suites, "model": model})


def _shifted(report: Report, measure: Measure, shift: float, *, suite: str | None = None) -> Report:
    def change(topic: TopicScores) -> TopicScores:
        values = {key: value + shift if key is measure else value for key, value in topic.values.items()}
        return topic.model_copy(update={"values": values})

    return _with_topics(report, change, suite=suite)


def _without(report: Report, measure: Measure) -> Report:
    def change(topic: TopicScores) -> TopicScores:
        kept = {key: value for key, value in topic.values.items() if key is not measure}
        return topic.model_copy(update={"values": kept})

    return _with_topics(report, change)


# Models, through the whole path: encoder, scoring, report, gate.


def test_a_better_model_passes(champion: Report, better: Report) -> None:
    """Else the gate would be safe and useless."""
    decision = decide(champion, better, IMPROVE)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.PASS, 0), decision.reasons


@pytest.mark.parametrize("goal", [IMPROVE, MAINTAIN])
def test_a_worse_follower_fails(champion: Report, better: Report, goal: Policy) -> None:
    decision = decide(better, champion, goal)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.FAIL, 1)
    assert {"p-MRR", "suites", "type facet", "type exclusion", "type stance"} <= _failing(decision)


def test_the_champion_is_no_improvement_on_itself(champion: Report) -> None:
    """Equal is not better, and no seed can make it so: there is no difference to draw from."""
    assert {"candidate", "p-MRR"} <= _failing(decide(champion, champion, IMPROVE))


def test_the_champion_is_no_improvement_on_itself_even_when_noise_says_so(champion: Report) -> None:
    """A service that answers differently each time must not be promoted over itself."""
    lucky = _shifted(champion, Measure.P_MRR, 0.1).model_copy(update={"model": champion.model})
    assert _failing(decide(champion, lucky, IMPROVE)) == {"candidate"}


def test_the_champion_maintains_itself(champion: Report) -> None:
    decision = decide(champion, champion, MAINTAIN)
    assert decision.verdict is Verdict.PASS, decision.reasons


def test_a_champion_that_ignores_instructions_maintains_itself(suites: list[Suite]) -> None:
    """Maintaining asks for nothing that the champion does not have either."""
    deaf = report_of(FollowingEncoder(0), suites, name="deaf")
    assert decide(deaf, deaf, MAINTAIN).verdict is Verdict.PASS


@pytest.mark.parametrize("goal", [IMPROVE, MAINTAIN])
def test_a_model_that_ignores_instructions_fails(champion: Report, suites: list[Suite], goal: Policy) -> None:
    """It retrieves as well as ever; p-MRR shows what it lacks, and so does nDCG with instruction."""
    decision = decide(champion, report_of(FollowingEncoder(0), suites, name="deaf"), goal)
    assert {"p-MRR", "nDCG@10 with instruction"} <= _failing(decision)
    assert _check(decision, "nDCG@10 without instruction").verdict is Verdict.PASS


def test_a_deaf_model_is_no_improvement_on_a_deaf_one(suites: list[Suite]) -> None:
    """Where neither follows instructions the shuffle control says so."""
    deaf, other = (report_of(FollowingEncoder(0, noise=noise), suites, name=f"deaf {noise}") for noise in (0, 0.01))
    assert "instruction shuffle" in _failing(decide(deaf, other, IMPROVE))


@pytest.mark.parametrize("weight", [0, 0.15])
def test_random_vectors_fail_whatever_the_champion_is(suites: list[Suite], weight: float) -> None:
    """A random encoder has a p-MRR around 0, which on FollowIR is more than real models have; quality gives it away."""
    decision = decide(
        report_of(FollowingEncoder(weight), suites, name="champion"),
        report_of(CheatingEncoder(random_vectors), suites, name="random"),
        IMPROVE,
    )
    assert {"nDCG floor", "nDCG@10 without instruction", "nDCG@10 with instruction"} <= _failing(decision)


def test_demoting_everything_raises_p_mrr_and_fails(champion: Report, suites: list[Suite]) -> None:
    """The documents that were to fall do fall, and under any topic's instruction, and so do those that were to stay."""
    demoter = CheatingEncoder(demote_under(changed_instructions(suites)), weight=0.15)
    decision = decide(champion, report_of(demoter, suites, name="demoter"), IMPROVE)
    assert _check(decision, "p-MRR").verdict is Verdict.PASS
    assert _failing(decision) == {"suites", "nDCG@10 with instruction", "preserve-MRR", "instruction shuffle"}


def test_demoting_under_any_instruction_of_a_suite_shows_in_the_shuffle_control(suites: list[Suite]) -> None:
    """Where no document stays relevant preserve-MRR has nothing to say; another topic's instruction demotes as well."""
    facets = suites[0]
    champion = report_of(FollowingEncoder(0), [facets], name="deaf")
    demoter = CheatingEncoder(demote_under(changed_instructions([facets])), weight=0)
    decision = decide(champion, report_of(demoter, [facets], name="demoter"), IMPROVE)
    assert _check(decision, "p-MRR").verdict is Verdict.PASS
    assert "instruction shuffle" in _failing(decision)


def test_a_better_follower_that_retrieves_three_points_worse_fails(champion: Report, suites: list[Suite]) -> None:
    """Following instructions is no licence to retrieve worse without them."""
    decision = decide(champion, report_of(FollowingEncoder(0.5, noise=0.6), suites, name="noisy"), IMPROVE)
    lost = _check(decision, "nDCG@10 without instruction")
    assert lost.value == pytest.approx(-0.03, abs=0.01)
    assert _check(decision, "p-MRR").verdict is Verdict.PASS
    assert _failing(decision) == {"nDCG@10 without instruction"}


def test_constant_query_vectors_fail(champion: Report, suites: list[Suite]) -> None:
    """One ranking for all queries; nothing moves, so p-MRR is 0, and quality is gone."""
    constant = CheatingEncoder(lambda vectors, _: np.full_like(vectors, vectors.shape[1] ** -0.5))
    costs = COSTS.model_copy(update={"distinct_vectors": 0.02})
    decision = decide(champion, report_of(constant, suites, name="constant", costs=costs), IMPROVE)
    assert {"nDCG floor", "distinct vectors", "p-MRR"} <= _failing(decision)


def test_constant_vectors_never_become_a_report(suites: list[Suite]) -> None:
    """All documents tie, and then their ids decide: such a ranking could be good by chance."""
    with pytest.raises(BadInputError, match="100% of the documents have the same score"):
        report_of(ConstantEncoder(), suites, name="constant")


def test_vectors_that_are_not_numbers_never_become_a_report(suites: list[Suite]) -> None:
    broken = CheatingEncoder(lambda vectors, _: np.full_like(vectors, np.nan))
    with pytest.raises(NonFiniteError, match="NaN or infinity for input rows"):
        report_of(broken, suites, name="nan")


def test_values_that_are_not_numbers_cannot_be_read_and_are_not_judged(
    champion: Report, better: Report, tmp_path: Path
) -> None:
    """A report made by hand meets two more obstacles."""
    broken = _shifted(better, Measure.P_MRR, float("nan"))
    save_report(broken, tmp_path / "report.json")
    with pytest.raises(AlteredArtefactError):
        load_report(tmp_path / "report.json")
    decision = decide(champion, broken, IMPROVE)
    assert (decision.verdict, len(decision.checks)) == (Verdict.FAIL, 1)
    assert "topic 'facets:village bread': p-MRR is nan, not a number" in decision.checks[0].reason


# Reports that cannot be compared.


def test_a_truncated_run_fails(champion: Report, better: Report) -> None:
    """Left out are perhaps just the topics that went badly."""
    first, *others = better.suites
    cut = better.model_copy(update={"suites": (first.model_copy(update={"topics": first.topics[:-1]}), *others)})
    for pair in ((champion, cut), (cut, champion)):
        decision = decide(*pair, IMPROVE)
        assert (decision.verdict, len(decision.checks)) == (Verdict.FAIL, 1)
        assert "1 topics are in one report only" in decision.checks[0].reason


def test_runs_that_counted_other_queries_fail(champion: Report, better: Report) -> None:
    first, *others = better.suites
    cut = better.model_copy(update={"suites": (first.model_copy(update={"n_queries": 3}), *others)})
    assert "a run was cut short" in decide(champion, cut, IMPROVE).checks[0].reason


def test_a_missing_suite_fails_on_either_side(champion: Report, better: Report) -> None:
    one = better.model_copy(update={"suites": better.suites[:2]})
    assert "candidate was not scored on suite plain" in decide(champion, one, IMPROVE).checks[0].reason
    assert "champion was not scored on suite plain" in decide(one, better, IMPROVE).checks[0].reason


def test_another_version_of_a_suite_fails(champion: Report, better: Report) -> None:
    first, *others = better.suites
    other = better.model_copy(update={"suites": (first.model_copy(update={"digest": "0" * 64}), *others)})
    assert "differs between the reports" in decide(champion, other, IMPROVE).checks[0].reason


@pytest.mark.parametrize("measure", [Measure.P_MRR, Measure.NDCG, Measure.PLAIN_NDCG, Measure.SHUFFLED_P_MRR])
def test_a_measure_that_is_missing_for_one_topic_fails(champion: Report, better: Report, measure: Measure) -> None:
    first, *others = better.suites
    topic = first.topics[0]
    values = {found: value for found, value in topic.values.items() if found is not measure}
    topics = (topic.model_copy(update={"values": values}), *first.topics[1:])
    cut = better.model_copy(update={"suites": (first.model_copy(update={"topics": topics}), *others)})
    decision = decide(champion, cut, IMPROVE)
    assert (decision.verdict, len(decision.checks)) == (Verdict.FAIL, 1)
    assert topic.topic in decision.checks[0].reason


def test_a_type_that_is_missing_for_one_topic_fails(champion: Report, better: Report) -> None:
    first, *others = better.suites
    topic = first.topics[0]
    cut = topic.model_copy(update={"by_type": {"facet": topic.by_type["facet"]}})
    suites = (first.model_copy(update={"topics": (cut, *first.topics[1:])}), *others)
    reason = decide(champion, better.model_copy(update={"suites": suites}), IMPROVE).checks[0].reason
    assert f"type exclusion of topic {topic.topic!r} is in one report only" in reason


def test_a_suite_or_topic_that_counts_twice_fails(champion: Report, better: Report) -> None:
    first, *others = better.suites
    twice = better.model_copy(update={"suites": (first, first, *others)})
    assert "a suite twice" in decide(champion, twice, IMPROVE).checks[0].reason
    padded = first.model_copy(update={"topics": (*first.topics, first.topics[0])})
    again = better.model_copy(update={"suites": (padded, *others)})
    assert "a topic twice" in decide(champion, again, IMPROVE).checks[0].reason


def test_suites_without_changed_instructions_alone_cannot_be_judged() -> None:
    plain = report_of(FollowingEncoder(0.5), [plain_suite()], name="plain")
    reason = decide(plain, plain, MAINTAIN).checks[0].reason
    assert "no suite has changed instructions, so p-MRR is undefined" in reason


def test_a_suite_of_too_few_topics_fails_with_its_name() -> None:
    suites = [facet_suite(n_topics=9)]
    champion, better = (report_of(FollowingEncoder(weight), suites, name=str(weight)) for weight in (0.1, 0.5))
    decision = decide(champion, better, IMPROVE)
    assert "suite 'facets' has 9 topics" in _check(decision, "p-MRR").reason


# Rules, one by one.


@pytest.mark.parametrize(
    ("measure", "name"),
    [(Measure.PLAIN_NDCG, "nDCG@10 without instruction"), (Measure.NDCG, "nDCG@10 with instruction")],
)
def test_three_points_less_ndcg_fail_whatever_p_mrr_gains(champion: Report, measure: Measure, name: str) -> None:
    decision = decide(champion, _shifted(_shifted(champion, Measure.P_MRR, 0.2), measure, -0.03), IMPROVE)
    assert _check(decision, "p-MRR").verdict is Verdict.PASS
    assert _failing(decision) == {name}


def test_suites_without_instructions_do_not_dilute_a_loss_with_instruction(better: Report, champion: Report) -> None:
    """Two of three suites lose 1.4 points, which is 0.9 over all three."""
    worse = champion
    for suite in ("facets", "stances"):
        worse = _shifted(worse, Measure.NDCG, -0.014, suite=suite)
    assert "nDCG@10 with instruction" in _failing(decide(champion, worse, IMPROVE))


@pytest.mark.parametrize("measure", [Measure.NDCG, Measure.P_MRR])
def test_one_suite_may_not_pay_for_the_mean(champion: Report, better: Report, measure: Measure) -> None:
    other = "facets"
    bought = _shifted(_shifted(champion, measure, 0.3, suite=other), measure, -0.08, suite="stances")
    check = _check(decide(champion, bought, IMPROVE), "suites")
    assert check.verdict is Verdict.FAIL
    assert f"stances {measure} (p 0.00" in check.reason


def test_a_small_noisy_gain_is_inconclusive_and_says_how_many_topics_it_takes(champion: Report) -> None:
    rng = np.random.default_rng(2)

    def noisy(topic: TopicScores) -> TopicScores:
        if Measure.P_MRR not in topic.values:
            return topic
        value = topic.values[Measure.P_MRR] + rng.normal(0.03, 0.3)
        return topic.model_copy(update={"values": topic.values | {Measure.P_MRR: value}})

    decision = decide(champion, _with_topics(champion, noisy), IMPROVE)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.INCONCLUSIVE, 2)
    assert "times as many topics would settle a change of this size" in _check(decision, "p-MRR").reason
    assert len(decision.reasons) == 1


def test_a_gain_that_only_the_bootstrap_sees_is_inconclusive(champion: Report) -> None:
    """The two tests assume different things of skewed differences; a promotion needs both."""
    scores = champion.suites[0].model_copy(update={"topics": champion.suites[0].topics[:12]})
    one = champion.model_copy(update={"suites": (scores,)})
    gains = iter([0.0, 0.1, -0.1, -0.1, 0.0, 0.2, 0.0, 0.1, 0.5, 1.1, 0.6, -0.1])

    def gained(topic: TopicScores) -> TopicScores:
        value = topic.values[Measure.P_MRR] + next(gains)
        return topic.model_copy(update={"values": topic.values | {Measure.P_MRR: value}})

    check = _check(decide(one, _with_topics(one, gained), IMPROVE), "p-MRR")
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "bounds +4.3 and +50.9) points, sign-flip p 0.062" in check.reason


def test_the_reason_gives_the_sign_flip_test_and_holms_p_by_suite(champion: Report, better: Report) -> None:
    reason = _check(decide(champion, better, IMPROVE), "p-MRR").reason
    assert "sign-flip p 0.000" in reason
    assert "gains with Holm's p: facets +38.4 (p 0.000), stances +44.3 (p 0.000)" in reason


def test_a_loss_within_the_margin_is_maintained_and_one_beyond_is_not(champion: Report) -> None:
    assert decide(champion, _shifted(champion, Measure.P_MRR, -0.015), MAINTAIN).verdict is Verdict.PASS
    assert _failing(decide(champion, _shifted(champion, Measure.P_MRR, -0.025), MAINTAIN)) == {"p-MRR"}
    assert "p-MRR" in _failing(decide(champion, _shifted(champion, Measure.P_MRR, -0.015), IMPROVE))


def test_documents_that_stay_relevant_may_rise_and_not_fall(champion: Report, better: Report) -> None:
    risen = better.macro(Measure.PRESERVE_MRR)
    assert risen is not None
    assert risen.high < 0, "those withdrawn made room"
    fallen = _shifted(better, Measure.PRESERVE_MRR, 0.25)
    assert _failing(decide(champion, fallen, IMPROVE)) == {"preserve-MRR"}


def test_without_documents_that_stay_relevant_the_gate_stays_open_unless_told(champion: Report, better: Report) -> None:
    pair = _without(champion, Measure.PRESERVE_MRR), _without(better, Measure.PRESERVE_MRR)
    assert decide(*pair, IMPROVE).verdict is Verdict.INCONCLUSIVE
    assert decide(*pair, Policy(requires_preserve=False)).verdict is Verdict.PASS


def test_without_instructions_to_exchange_the_gate_stays_open(champion: Report, better: Report) -> None:
    pair = _without(champion, Measure.SHUFFLED_P_MRR), _without(better, Measure.SHUFFLED_P_MRR)
    decision = decide(*pair, IMPROVE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "all topics share one changed instruction" in decision.reasons[0]


def _with_type(report: Report, kind: str, value: float) -> Report:
    def change(topic: TopicScores) -> TopicScores:
        return topic.model_copy(update={"by_type": {k: value if k == kind else v for k, v in topic.by_type.items()}})

    return _with_topics(report, change)


def test_one_type_may_not_pay_for_the_mean(champion: Report, better: Report) -> None:
    assert _failing(decide(champion, _with_type(better, "exclusion", 0.1), IMPROVE)) == {"type exclusion"}


def test_no_type_may_be_followed_backwards_even_where_the_champion_does(champion: Report, better: Report) -> None:
    pair = _with_type(champion, "exclusion", -0.4), _with_type(better, "exclusion", -0.35)
    assert _failing(decide(*pair, IMPROVE)) == {"type exclusion"}


def test_a_type_of_few_topics_is_reported_and_not_judged(champion: Report, better: Report) -> None:
    lost = _with_type(better, "stance", -0.9)
    check = _check(decide(champion, lost, Policy(fewest_topics_of_type=50)), "type stance")
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
    assert _failing(decide(champion, _costing(better, **costs), IMPROVE)) == {name}


def test_costs_of_unknown_runs_are_not_taken_for_one_run(champion: Report, better: Report) -> None:
    pair = _costing(champion, measured_in=""), _costing(better, measured_in="")
    assert _failing(decide(*pair, IMPROVE)) == {"same run"}


def test_reports_without_serving_costs_fail_unless_the_policy_allows_it(champion: Report, better: Report) -> None:
    bare = better.model_copy(update={"serving": None})
    assert "no serving costs in the report of the candidate" in decide(champion, bare, IMPROVE).reasons[0]
    assert decide(champion, bare, Policy(requires_serving=False)).verdict is Verdict.PASS


def test_parity_that_was_not_measured_is_said_or_refused(champion: Report, better: Report) -> None:
    open_ended = _costing(better, parity_max_abs=None)
    check = _check(decide(champion, open_ended, IMPROVE), "parity")
    assert (check.verdict, "was not measured in this run" in check.reason) == (Verdict.PASS, True)
    assert _failing(decide(champion, open_ended, Policy(requires_parity=True))) == {"parity"}


def test_an_unchanged_document_tower_keeps_the_index(champion: Report, better: Report) -> None:
    decision = decide(champion, better, IMPROVE)
    assert decision.index_action is IndexAction.KEEP
    assert "the index stays as it is" in _check(decision, "index").reason


def test_a_new_document_tower_names_the_rebuild_and_promotes_only_the_pair(champion: Report, better: Report) -> None:
    model = better.model.model_copy(update={"document_fingerprint": "e" * 64})
    decision = decide(champion, better.model_copy(update={"model": model}), IMPROVE)
    assert (decision.verdict, decision.index_action) == (Verdict.PASS, IndexAction.REBUILD)
    assert decision.document_fingerprint == "e" * 64
    reason = _check(decision, "index").reason
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


# Policies.


@pytest.mark.parametrize(
    "change",
    [
        {"ndcg_margin": 0},
        {"ndcg_margin": 0.5},
        {"confidence": 1.0},
        {"latency_ratio": 0.5},
        {"parity_max_abs": 1.0},
        {"unknown": 1},
    ],
)
def test_a_bound_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(change)


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        ({"goal": "maintain", "p_mrr_margin": 0.06}, "p_mrr_margin (0.06)", "suite_loss (0.05)"),
        (
            {"goal": "maintain", "p_mrr_margin": 0.06, "suite_loss": 0.1},
            "p_mrr_margin (0.06)",
            "type_loss (0.05)",
        ),
        ({"ndcg_margin": 0.06}, "ndcg_margin (0.06)", "suite_loss (0.05)"),
        ({"ndcg_margin": 0.04, "ndcg_floor": 0.03}, "ndcg_margin (0.04)", "ndcg_floor (0.03)"),
        ({"requires_parity": True, "requires_serving": False}, "requires_parity", "requires_serving"),
    ],
)
def test_an_impossible_margin_is_refused_with_both_fields_named(
    change: dict[str, object], first: str, second: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        Policy.model_validate(change)
    assert first in str(refusal.value)
    assert second in str(refusal.value)


def test_the_policy_in_the_repository_is_the_default_and_names_every_field() -> None:
    policy = Policy.from_toml(DEFAULT_POLICY)
    assert policy == Policy()
    assert policy.model_fields_set == set(Policy.model_fields)


def test_every_field_of_the_policy_is_documented() -> None:
    text = (DEFAULT_POLICY.parents[1] / "docs" / "gate.md").read_text(encoding="utf-8")
    for name, field in Policy.model_fields.items():
        assert f"| `{name}` |" in text
        assert str(field.description) in text


@pytest.mark.slow
def test_an_equal_model_is_promoted_in_at_most_one_of_twenty_comparisons() -> None:
    share = promotions((40, 80), n_samples=400)[Verdict.PASS]
    assert share <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
