from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import Backlog, Lane, Size, fill_batch


@dataclass(eq=False)
class Input:
    """Something that waits; `number` says which."""

    size: Size
    number: int = 0
    deadline: float = 1e9


def _sizes(*texts: int) -> list[Size]:
    return [Size(text) for text in texts]


def _backlog(*, interactive: list[Input] | None = None, bulk: list[Input] | None = None, budget: int = 100) -> Backlog:  # type: ignore[type-arg]
    backlog = Backlog[Input](budget=budget)
    backlog.add(interactive or [], Lane.INTERACTIVE)
    backlog.add(bulk or [], Lane.BULK)
    return backlog


def test_nothing_waiting_makes_no_batch() -> None:
    assert fill_batch([], budget=100) == []


def test_short_queues_are_served_in_order() -> None:
    assert fill_batch(_sizes(5, 50, 6, 7), budget=200) == [0, 1, 2, 3]


def test_the_padded_cost_bounds_the_batch() -> None:
    assert fill_batch(_sizes(10, 10, 60, 10), budget=100) == [0, 1]


def test_texts_and_instructions_are_padded_apart() -> None:
    sizes = [Size(10, 20), Size(20, 10), Size(10, 20)]
    assert fill_batch(sizes, budget=80) == [0, 1]  # 2 x (20 + 20)
    assert fill_batch(sizes, budget=79) == [0]


def test_an_input_longer_than_the_budget_goes_alone() -> None:
    assert fill_batch(_sizes(500, 5), budget=100) == [0]


def test_a_backlog_is_filled_with_inputs_of_the_oldest_ones_length() -> None:
    lengths = [10, 100, 11, 90, 10, 95, 12] * 3
    rows = fill_batch(_sizes(*lengths), budget=150)
    assert 0 in rows
    assert all(lengths[row] <= 12 for row in rows)


SIZES = st.integers(0, 300 * 60 - 1).map(lambda n: Size(1 + n % 300, n // 300))


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=80), st.integers(1, 600))
def test_every_batch_holds_the_oldest_and_keeps_its_budget(sizes: list[Size], budget: int) -> None:
    rows = fill_batch(sizes, budget=budget)
    assert rows[0] == 0
    assert rows == sorted(set(rows))
    width = max(sizes[row].text for row in rows) + max(sizes[row].instruction for row in rows)
    assert len(rows) == 1 or len(rows) * width <= budget


@pytest.mark.parametrize(
    ("n_runs", "running_tokens", "expected"),
    [(1, 0, [0, 1, 2, 3]), (2, 0, [0, 1]), (4, 0, [0]), (2, 20, [0, 1, 2]), (2, 60, [0, 1, 2, 3])],
)
def test_where_batches_run_side_by_side_one_gets_its_share_of_all_that_waits_and_runs(
    n_runs: int, running_tokens: int, expected: list[int]
) -> None:
    works = [Input(Size(10), number) for number in range(4)]
    batch = _backlog(interactive=works, budget=1000).take(0, n_runs=n_runs, running_tokens=running_tokens)
    assert [work.number for work in batch.works] == expected


def test_one_run_at_a_time_takes_all_that_waits_whatever_the_padding() -> None:
    works = [Input(Size(text, instruction), number) for number, (text, instruction) in enumerate([(9, 0), (3, 7)])]
    batch = _backlog(interactive=works, budget=1000).take(0, n_runs=1)
    assert [work.number for work in batch.works] == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=60), st.lists(SIZES, max_size=60), st.integers(1, 600))
def test_everything_is_served_once_whatever_its_lane(interactive: list[Size], bulk: list[Size], budget: int) -> None:
    works = [Input(size, number) for number, size in enumerate([*interactive, *bulk])]
    backlog = _backlog(interactive=works[: len(interactive)], bulk=works[len(interactive) :], budget=budget)
    served: list[int] = []
    while backlog:
        batch = backlog.take(0).works
        assert batch
        served += [work.number for work in batch]
    assert sorted(served) == list(range(len(works)))
    assert backlog.next_lane is None


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=60), st.integers(1, 600), st.integers(0, 59))
def test_nobody_waits_longer_than_those_who_came_before(sizes: list[Size], budget: int, which: int) -> None:
    works = [Input(size, number) for number, size in enumerate(sizes)]
    patient = works[which % len(works)]
    backlog = _backlog(interactive=works, budget=budget)
    n_batches = 0
    while backlog.remove(patient, Lane.INTERACTIVE):
        backlog.add([patient], Lane.INTERACTIVE)  # as new as can be: everybody else is before it
        backlog.take(0)
        n_batches += 1
    assert n_batches <= len(works)


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, min_size=10, max_size=50), st.integers(100, 400))
def test_while_both_lanes_wait_bulk_gets_a_third_of_the_others_tokens_and_goes_on(
    sizes: list[Size], budget: int
) -> None:
    backlog = _backlog(
        interactive=[Input(size, 0) for size in sizes], bulk=[Input(size, 1) for size in sizes], budget=budget
    )
    largest = max(budget, *(size.total for size in sizes))
    tokens = {0: 0, 1: 0}
    between = 0
    while backlog.next_lane is not None and tokens_wait_in_both(backlog):
        batch = backlog.take(0).works
        n_tokens = sum(work.size.total for work in batch)
        tokens[batch[0].number] += n_tokens
        between = 0 if batch[0].number else between + n_tokens
        assert Backlog.SHARE * tokens[1] <= tokens[0] + Backlog.SHARE * largest
        assert between <= Backlog.SHARE * largest + largest


def tokens_wait_in_both(backlog: Backlog) -> bool:  # type: ignore[type-arg]
    return all(backlog._lanes[lane] for lane in (Lane.INTERACTIVE, Lane.BULK))


def test_a_single_query_goes_before_bulk_that_came_first() -> None:
    backlog = _backlog(bulk=[Input(Size(50), number) for number in range(10)])
    assert [work.number for work in backlog.take(0).works] == [0, 1]
    backlog.add([Input(Size(5), 99)], Lane.INTERACTIVE)
    assert [work.number for work in backlog.take(0).works] == [99]
    assert [work.number for work in backlog.take(0).works] == [2, 3]


def test_bulk_has_its_turn_after_three_batches_of_others() -> None:
    backlog = _backlog(
        interactive=[Input(Size(50), 0) for _ in range(20)], bulk=[Input(Size(50), 1) for _ in range(20)]
    )
    served = [backlog.take(0).works[0].number for _ in range(8)]
    assert served == [0, 0, 0, 1, 0, 0, 0, 1]


def test_an_urgent_input_goes_before_all_others() -> None:
    backlog = _backlog(interactive=[Input(Size(5), 1)], bulk=[Input(Size(5), 2)])
    backlog.add([Input(Size(5), 3)], Lane.URGENT)
    assert [backlog.take(0).works[0].number for _ in range(3)] == [3, 1, 2]


def test_what_has_no_time_left_is_handed_back_and_not_served() -> None:
    backlog = _backlog(interactive=[Input(Size(5), 1, deadline=10), Input(Size(5), 2, deadline=20)])
    batch = backlog.take(10)
    assert [work.number for work in batch.expired] == [1]
    assert [work.number for work in batch.works] == [2]
    assert not backlog


def test_what_was_removed_is_not_served() -> None:
    gone, stays = Input(Size(5), 1), Input(Size(5), 2)
    backlog = _backlog(interactive=[gone, stays])
    assert backlog.remove(gone, Lane.INTERACTIVE)
    assert not backlog.remove(gone, Lane.INTERACTIVE)
    assert backlog.take(0).works == [stays]


@pytest.mark.parametrize("n", [1, 5000])
def test_a_batch_is_chosen_from_the_oldest_of_a_long_backlog(n: int) -> None:
    backlog = _backlog(interactive=[Input(Size(3), number) for number in range(n)], budget=300)
    batch = backlog.take(0).works
    assert [work.number for work in batch] == list(range(min(n, 100)))
