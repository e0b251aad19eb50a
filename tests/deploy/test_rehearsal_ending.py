from collections.abc import Mapping
from typing import Any

import pytest

from deploy.rehearsal.ending import check_ending
from deploy.rehearsal.load import Answer
from deploy.rehearsal.rollout import Outcome
from deploy.rehearsal.scenarios import SCENARIOS

GOOD, ERRORS = (next(found for found in SCENARIOS if found.name == name) for name in ("good", "errors"))
OLD = {"version": 1, "bundle_digest": "a", "index": {"collection": "/blue/demo", "generation": "gen-1"}}
NEW = {"version": 2, "bundle_digest": "b", "index": {"collection": "/green/demo", "generation": "gen-2"}}
PROMOTED = Outcome((), 100)
ABORTED = Outcome(("error-rate",), 5)


def answer(at: float, track: str, status: int = 200) -> Answer:
    return Answer(at, track, status, 0.01)


DURING = [answer(1, "stable"), answer(2, "candidate")]
FAILED = [*DURING, answer(3, "candidate", 500)]


def is_right(
    scenario: Any, outcome: Outcome, answers: list[Answer], after: Mapping[str, Any], *, n_lost: int = 0
) -> bool:
    n_sent = len(answers) + n_lost
    ending = check_ending(scenario, outcome, answers=answers, n_sent=n_sent, ended_at=10, before=OLD, after=after)
    assert ending.is_right == (not any(line.startswith("WRONG") for line in ending.lines))
    return ending.is_right


def test_a_promotion_moves_bundle_and_index_and_all_traffic() -> None:
    assert is_right(GOOD, PROMOTED, [*DURING, answer(11, "candidate")], NEW)


def test_a_rollback_leaves_the_pair_and_all_is_well_afterwards() -> None:
    assert is_right(ERRORS, ABORTED, [*FAILED, answer(11, "stable")], OLD)


@pytest.mark.parametrize("after", [OLD, OLD | {"index": NEW["index"]}, NEW | {"index": OLD["index"]}])
def test_a_pair_that_moved_by_half_or_not_at_all_is_no_promotion(after: Mapping[str, Any]) -> None:
    assert not is_right(GOOD, PROMOTED, [*DURING, answer(11, "candidate")], after)


def test_a_rollback_that_moved_anything_is_wrong() -> None:
    assert not is_right(ERRORS, ABORTED, [*FAILED, answer(11, "stable")], OLD | {"index": NEW["index"]})


def test_a_bad_candidate_that_is_promoted_is_wrong() -> None:
    assert not is_right(ERRORS, PROMOTED, [*DURING, answer(11, "candidate")], NEW)


def test_a_bad_candidate_that_something_else_stopped_is_wrong() -> None:
    assert not is_right(ERRORS, Outcome(("latency-p95",), 5), [*FAILED, answer(11, "stable")], OLD)


def test_an_error_that_is_not_the_candidates_own_is_a_loss() -> None:
    assert not is_right(ERRORS, ABORTED, [*FAILED, answer(4, "stable", 502), answer(11, "stable")], OLD)
    assert not is_right(ERRORS, ABORTED, [*FAILED, answer(4, "none", 0), answer(11, "stable")], OLD)


def test_a_request_without_an_answer_is_a_loss() -> None:
    assert not is_right(ERRORS, ABORTED, [*FAILED, answer(11, "stable")], OLD, n_lost=1)


def test_errors_of_a_candidate_that_has_no_fault_are_wrong() -> None:
    assert not is_right(GOOD, PROMOTED, [*FAILED, answer(11, "candidate")], NEW)


def test_after_a_rollback_nobody_meets_the_candidate() -> None:
    assert not is_right(ERRORS, ABORTED, [*FAILED, answer(11, "candidate")], OLD)
