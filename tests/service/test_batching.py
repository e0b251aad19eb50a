from hypothesis import given
from hypothesis import strategies as st

from service.batching import fill_batch


def test_nothing_waiting_makes_no_batch() -> None:
    assert fill_batch([], budget=100) == []


def test_short_queues_are_served_in_order() -> None:
    assert fill_batch([5, 50, 6, 7], budget=200) == [0, 1, 2, 3]


def test_the_padded_cost_bounds_the_batch() -> None:
    assert fill_batch([10, 10, 60, 10], budget=100) == [0, 1]


def test_an_input_longer_than_the_budget_goes_alone() -> None:
    assert fill_batch([500, 5], budget=100) == [0]


def test_a_backlog_is_filled_with_inputs_of_the_oldest_ones_length() -> None:
    lengths = [10, 100, 11, 90, 10, 95, 12] * 3
    rows = fill_batch(lengths, budget=150)
    assert 0 in rows
    assert all(lengths[row] <= 12 for row in rows)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 600))
def test_every_batch_holds_the_oldest_and_keeps_its_budget(lengths: list[int], budget: int) -> None:
    rows = fill_batch(lengths, budget=budget)
    assert rows[0] == 0
    assert rows == sorted(set(rows))
    assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= budget


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_repeated_batches_serve_everything_once(lengths: list[int], budget: int) -> None:
    waiting = list(enumerate(lengths))
    served = []
    while waiting:
        rows = fill_batch([length for _, length in waiting], budget=budget)
        served += [waiting[row][0] for row in rows]
        waiting = [item for row, item in enumerate(waiting) if row not in set(rows)]
    assert sorted(served) == list(range(len(lengths)))
