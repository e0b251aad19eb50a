from typing import Any

from tests.training_rows import make_row as row
from training.corpus.validation.checks import (
    CHECKS,
    Problem,
    contradictions,
    duplicates,
    leaks,
    near_duplicate_rows,
    shared_negatives,
    without_hard_negative,
)


def numbers(findings: Any) -> list[int]:
    return [found.number for found in findings]


def test_rows_that_differ_in_punctuation_only_are_duplicates() -> None:
    rows = [row(), row(query_positive="aphids"), row(instruction_positive="no chemicals")]
    assert list(duplicates(rows)) == [(3, "the same as row 1")]


def test_a_row_with_one_word_changed_is_a_near_duplicate_and_an_equal_one_is_not() -> None:
    rows = [row(), row(query_negative="aphids on peas"), row()]
    assert list(near_duplicate_rows(rows)) == [(2, "nearly the same as row 1")]


def test_a_document_that_begins_with_the_query_or_repeats_a_long_one_is_a_leak() -> None:
    rows = [
        row(),
        row(document_positive="Keep slugs off lettuce: copper tape rings the bed."),
        row(
            query_negative="how to spray aphids off beans",
            hard_negative_document_2="Now, how to spray aphids off beans?",
        ),
        row(query_positive="slugs", document_positive="Slugs come out at ten."),
    ]
    assert list(leaks(rows)) == [
        (2, "document_positive begins with the query"),
        (3, "hard_negative_document_2 repeats the query"),
    ]


def test_a_hard_negative_that_another_row_calls_right_for_the_same_wish_is_a_contradiction() -> None:
    negative = row().hard_negative_document_1
    same_wish = row(
        document_positive=negative, hard_negative_document_1="Beer traps drown them in two nights or three."
    )
    other_wish = row(
        document_positive=negative,
        instruction_positive="Pellets.",
        hard_negative_document_1="Beer traps drown them in two nights or three.",
    )
    assert list(contradictions([row(), same_wish])) == [
        (1, "hard_negative_document_1 is the positive of row 2, for the same wish")
    ]
    assert list(contradictions([row(), other_wish])) == []
    assert list(shared_negatives([row(), same_wish])) == []
    assert list(shared_negatives([row(), other_wish])) == [
        (1, "hard_negative_document_1 is the positive of row 2, for another wish")
    ]


def test_an_instruction_that_nothing_contrasts_with_is_reported_and_a_plain_row_is_not() -> None:
    nothing = dict.fromkeys(
        ("instruction_negative", "hard_negative_document_1", "query_negative", "hard_negative_document_2")
    )
    plain = row(**nothing, instruction_positive=None, instruction_type="plain")
    assert numbers(without_hard_negative([row(), row(**nothing), plain])) == [2]


def test_a_good_row_passes_every_check() -> None:
    assert {problem: list(check([row()])) for problem, check in CHECKS.items()} == {problem: [] for problem in CHECKS}


def test_every_problem_has_a_meaning() -> None:
    assert all(problem.meaning for problem in Problem)
