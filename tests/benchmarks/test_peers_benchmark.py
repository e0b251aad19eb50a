import numpy as np
import pytest

from benchmarks.paired import Case, Key, Measure, Round, Target, run_rounds, spread, table, target_table
from benchmarks.peers import TARGETS, least_cosine
from benchmarks.workers import Shape, shapes
from benchmarks.wrk import Load

OURS, THEIRS = Key("short", "ours"), Key("short", "theirs")
RATE = Target("short", "ours", "theirs", Measure.RATE, 2.0)
EXTRA = Target("short", "ours", "theirs", Measure.EXTRA, 1.5)


def _round(ours: Load, theirs: Load) -> Round:
    return {OURS: ours, THEIRS: theirs}


def _load(per_s: int, p50_ms: float = 1.0) -> Load:
    return Load(per_s, 1.0, p50_ms, 2 * p50_ms)


def test_loads_are_compared_within_their_round() -> None:
    """The machine was twice as fast in the second round: the ratio does not care."""
    rounds = [_round(_load(30), _load(10)), _round(_load(60), _load(20))]
    assert RATE.found(rounds) == [3.0, 3.0]


def test_latency_beside_another_is_a_difference() -> None:
    assert EXTRA.found([_round(_load(1, 5.0), _load(1, 3.0))]) == [2.0]


@pytest.mark.parametrize(("target", "met", "missed"), [(RATE, 2.0, 1.99), (EXTRA, 1.5, 1.51)])
def test_a_bound_is_met_when_it_is_reached(target: Target, met: float, missed: float) -> None:
    assert target.is_met(met)
    assert not target.is_met(missed)


def test_what_was_not_measured_has_no_row() -> None:
    found = target_table([RATE, RATE._replace(other="nobody")], [_round(_load(30), _load(10))])
    assert found.splitlines()[2:] == [
        "| short | ours | theirs | at least 2 times the rate | 3.00 (3.00 to 3.00) | met |",
    ]


def test_rates_are_divided_by_those_of_the_first_case_of_the_same_workload() -> None:
    other = Key("batches", "ours")
    rounds = [{**_round(_load(10), _load(20)), other: _load(7)}, {**_round(_load(10), _load(40)), other: _load(7)}]
    ratios = [line.split("|")[-2].strip() for line in table(rounds).splitlines()[2:]]
    assert ratios == ["1.00 (1.00 to 1.00)", "3.00 (2.00 to 4.00)", "1.00 (1.00 to 1.00)"]


def test_every_other_round_goes_backwards() -> None:
    order: list[str] = []

    def case(name: str) -> Case:
        def run() -> Load:
            order.append(name)
            return _load(1)

        return Case(Key("short", name), run)

    run_rounds([case("a"), case("b")], 3)
    assert "".join(order) == "abbaab"


def test_a_spread_shows_the_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 2000.0]) == "3.0 (1.0 to 2,000.0)"


def test_vectors_are_compared_by_the_worst_of_them_whatever_their_length() -> None:
    wanted = np.array([[1, 0], [0, 1]], dtype=np.float32)
    assert least_cosine(3 * wanted, wanted) == pytest.approx(1)
    assert least_cosine(np.array([[1, 0], [1, 1]], dtype=np.float32), wanted) == pytest.approx(0.5**0.5)


def test_targets_compare_different_things_once() -> None:
    assert all(target.ours != target.other for target in TARGETS)
    assert len({target[:3] for target in TARGETS}) == len(TARGETS)


def test_processors_are_divided_without_naming_a_way_twice() -> None:
    assert shapes(1) == [Shape(1, 1)]
    assert shapes(2) == [Shape(1, 2), Shape(1, 1), Shape(2, 1)]
    assert shapes(16) == [Shape(1, 16), Shape(1, 15), Shape(16, 1)]
