"""The gate as a whole: models that cheat, and reports that cannot be compared."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.gate import Policy, Verdict, decide
from evaluation.report import Measure, Report, load_report, save_report
from evaluation.suites.layout import Suite
from infembed.bundle import Precision
from infembed.errors import AlteredArtefactError, BadInputError, NonFiniteError
from tests.evaluation.gated import IMPROVE, MAINTAIN, check_of, failing, shifted
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
)

# Models, through the whole path: encoder, scoring, report, gate.


def test_a_better_model_passes(champion: Report, better: Report) -> None:
    """Else the gate would be safe and useless."""
    decision = decide(champion, better, IMPROVE)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.PASS, 0), decision.reasons


@pytest.mark.parametrize("goal", [IMPROVE, MAINTAIN])
def test_a_worse_follower_fails(champion: Report, better: Report, goal: Policy) -> None:
    decision = decide(better, champion, goal)
    assert (decision.verdict, decision.verdict.exit_code) == (Verdict.FAIL, 1)
    assert {"p-MRR", "suites", "type facet", "type exclusion", "type stance"} <= failing(decision)


def test_the_champion_is_no_improvement_on_itself(champion: Report) -> None:
    """Equal is not better, and no seed can make it so: there is no difference to draw from."""
    assert {"candidate", "p-MRR"} <= failing(decide(champion, champion, IMPROVE))


def test_the_champion_is_no_improvement_on_itself_even_when_noise_says_so(champion: Report) -> None:
    """A service that answers differently each time must not be promoted over itself."""
    lucky = shifted(champion, Measure.P_MRR, 0.1).model_copy(update={"model": champion.model})
    assert failing(decide(champion, lucky, IMPROVE)) == {"candidate"}


def test_another_precision_of_the_champion_is_another_candidate(champion: Report) -> None:
    int8 = champion.model_copy(update={"model": champion.model.model_copy(update={"precision": Precision.INT8})})
    decision = decide(champion, int8, Policy())
    (check,) = [check for check in decision.checks if check.name == "candidate"]
    assert check.verdict is Verdict.PASS
    assert "in fp32, candidate" in check.reason
    assert decision.candidate_precision is Precision.INT8


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
    assert {"p-MRR", "nDCG@10 with instruction"} <= failing(decision)
    assert check_of(decision, "nDCG@10 without instruction").verdict is Verdict.PASS


def test_a_deaf_model_is_no_improvement_on_a_deaf_one(suites: list[Suite]) -> None:
    """Where neither follows instructions the shuffle control says so."""
    deaf, other = (report_of(FollowingEncoder(0, noise=noise), suites, name=f"deaf {noise}") for noise in (0, 0.01))
    assert "instruction shuffle" in failing(decide(deaf, other, IMPROVE))


@pytest.mark.parametrize("weight", [0, 0.15])
def test_random_vectors_fail_whatever_the_champion_is(suites: list[Suite], weight: float) -> None:
    """A random encoder has a p-MRR around 0, which on FollowIR is more than real models have; quality gives it away."""
    decision = decide(
        report_of(FollowingEncoder(weight), suites, name="champion"),
        report_of(CheatingEncoder(random_vectors), suites, name="random"),
        IMPROVE,
    )
    assert {"nDCG floor", "nDCG@10 without instruction", "nDCG@10 with instruction"} <= failing(decision)


def test_demoting_everything_raises_p_mrr_and_fails(champion: Report, suites: list[Suite]) -> None:
    """The documents that were to fall do fall, and under any topic's instruction, and so do those that were to stay."""
    demoter = CheatingEncoder(demote_under(changed_instructions(suites)), weight=0.15)
    decision = decide(champion, report_of(demoter, suites, name="demoter"), IMPROVE)
    assert check_of(decision, "p-MRR").verdict is Verdict.PASS
    assert failing(decision) == {"suites", "nDCG@10 with instruction", "preserve-MRR", "instruction shuffle"}


def test_demoting_under_any_instruction_of_a_suite_shows_in_the_shuffle_control(suites: list[Suite]) -> None:
    """Where no document stays relevant preserve-MRR has nothing to say; another topic's instruction demotes as well."""
    facets = suites[0]
    champion = report_of(FollowingEncoder(0), [facets], name="deaf")
    demoter = CheatingEncoder(demote_under(changed_instructions([facets])), weight=0)
    decision = decide(champion, report_of(demoter, [facets], name="demoter"), IMPROVE)
    assert check_of(decision, "p-MRR").verdict is Verdict.PASS
    assert "instruction shuffle" in failing(decision)


def test_a_better_follower_that_retrieves_three_points_worse_fails(champion: Report, suites: list[Suite]) -> None:
    """Following instructions is no licence to retrieve worse without them."""
    decision = decide(champion, report_of(FollowingEncoder(0.5, noise=0.6), suites, name="noisy"), IMPROVE)
    lost = check_of(decision, "nDCG@10 without instruction")
    assert lost.value == pytest.approx(-0.03, abs=0.01)
    assert check_of(decision, "p-MRR").verdict is Verdict.PASS
    assert failing(decision) == {"nDCG@10 without instruction"}


def test_constant_query_vectors_fail(champion: Report, suites: list[Suite]) -> None:
    """One ranking for all queries; nothing moves, so p-MRR is 0, and quality is gone."""
    constant = CheatingEncoder(lambda vectors, _: np.full_like(vectors, vectors.shape[1] ** -0.5))
    costs = COSTS.model_copy(update={"distinct_vectors": 0.02})
    decision = decide(champion, report_of(constant, suites, name="constant", costs=costs), IMPROVE)
    assert {"nDCG floor", "distinct vectors", "p-MRR"} <= failing(decision)


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
    broken = shifted(better, Measure.P_MRR, float("nan"))
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
    assert "suite 'facets' has 9 topics" in check_of(decision, "p-MRR").reason
