"""The controller's arithmetic, by cases that Kubernetes' documentation and source work out."""

import pytest

from benchmarks.hpa import Autoscaler, MetricType, Policy, PolicyType, Rules, Trigger

WAIT = Trigger("wait", MetricType.VALUE, 0.1)
BUSY = Trigger("busy", MetricType.AVERAGE_VALUE, 0.5)
AT_ONCE = Rules(0, [Policy(PolicyType.PERCENT, 1000, 15)])


def _autoscaler(*, up: Rules = AT_ONCE, down: Rules = AT_ONCE, triggers: tuple[Trigger, ...] = (WAIT,)) -> Autoscaler:
    return Autoscaler(1, 20, triggers, up, down)


@pytest.mark.parametrize(
    ("value", "ready", "desired"),
    [(0.2, 3, 6), (0.1, 3, 4), (0.109, 3, 4), (0.111, 3, 4), (0.05, 4, 2), (0.0, 4, 0), (0.2, 2, 4)],
)
def test_a_value_multiplies_the_ready_replicas_beyond_a_tolerance(value: float, ready: int, desired: int) -> None:
    assert WAIT.desired(value, current=4, ready=ready) == desired


@pytest.mark.parametrize(("total", "desired"), [(2.0, 4), (2.19, 4), (2.21, 5), (1.81, 4), (1.7, 4), (1.5, 3), (0, 0)])
def test_a_total_is_divided_by_the_threshold_whatever_the_number_is(total: float, desired: int) -> None:
    assert BUSY.desired(total, current=4, ready=1) == desired


def test_the_largest_answer_of_the_metrics_wins() -> None:
    autoscaler = _autoscaler(triggers=(WAIT, BUSY))
    assert autoscaler.decide(0, {"wait": 0.0, "busy": 3.0}, current=2, ready=2) == 6
    assert autoscaler.decide(15, {"wait": 0.5, "busy": 0.1}, current=2, ready=2) == 10


def test_the_number_stays_within_its_bounds() -> None:
    autoscaler = _autoscaler()
    assert autoscaler.decide(0, {"wait": 100.0}, current=10, ready=10) == 20
    assert autoscaler.decide(15, {"wait": 0.0}, current=2, ready=2) == 1


def test_it_grows_at_once_and_shrinks_to_the_most_that_was_wanted_within_the_window() -> None:
    autoscaler = _autoscaler(down=Rules(60, [Policy(PolicyType.PODS, 20, 15)]))
    assert autoscaler.decide(0, {"wait": 0.2}, current=4, ready=4) == 8
    assert autoscaler.decide(15, {"wait": 0.05}, current=8, ready=8) == 8
    assert autoscaler.decide(30, {"wait": 0.075}, current=8, ready=8) == 8
    assert autoscaler.decide(60, {"wait": 0.025}, current=8, ready=8) == 6
    assert autoscaler.decide(90, {"wait": 0.025}, current=6, ready=6) == 2


def test_a_window_for_growing_waits_until_all_agree() -> None:
    autoscaler = _autoscaler(up=Rules(30, AT_ONCE.policies))
    assert autoscaler.decide(0, {"wait": 0.1}, current=2, ready=2) == 2
    assert autoscaler.decide(15, {"wait": 0.3}, current=2, ready=2) == 2
    assert autoscaler.decide(30, {"wait": 0.2}, current=2, ready=2) == 4


def test_a_policy_counts_what_was_added_within_its_period() -> None:
    autoscaler = _autoscaler(up=Rules(0, [Policy(PolicyType.PODS, 4, 60)]))
    assert autoscaler.decide(0, {"wait": 1.0}, current=2, ready=2) == 6
    assert autoscaler.decide(30, {"wait": 1.0}, current=6, ready=6) == 6
    assert autoscaler.decide(60, {"wait": 1.0}, current=6, ready=6) == 10


def test_the_most_generous_of_the_policies_decides() -> None:
    up = Rules(0, [Policy(PolicyType.PODS, 2, 60), Policy(PolicyType.PERCENT, 100, 60)])
    assert _autoscaler(up=up).decide(0, {"wait": 1.0}, current=1, ready=1) == 3
    assert _autoscaler(up=up).decide(0, {"wait": 1.0}, current=4, ready=4) == 8


def test_shrinking_is_limited_as_well() -> None:
    autoscaler = _autoscaler(down=Rules(0, [Policy(PolicyType.PODS, 1, 60)]))
    assert autoscaler.decide(0, {"wait": 0.0}, current=8, ready=8) == 7
    assert autoscaler.decide(30, {"wait": 0.0}, current=7, ready=7) == 7
    assert autoscaler.decide(60, {"wait": 0.0}, current=7, ready=7) == 6


def test_a_percentage_is_rounded_so_that_one_replica_can_grow_and_the_last_can_go() -> None:
    ten_percent = Rules(0, [Policy(PolicyType.PERCENT, 10, 60)])
    assert _autoscaler(up=ten_percent).decide(0, {"wait": 1.0}, current=1, ready=1) == 2
    assert _autoscaler(down=ten_percent).decide(0, {"wait": 0.0}, current=9, ready=9) == 8


def test_a_way_to_choose_policies_that_is_not_modelled_is_refused() -> None:
    with pytest.raises(ValueError, match="knows Max only"):
        Rules.read({"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": []})
