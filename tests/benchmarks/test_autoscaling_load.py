"""The autoscaler of the manifests under the load of docs/deployment.md."""

import itertools

import numpy as np
import pytest

from benchmarks.autoscaling import DAY, P99_S, Knot, Minute, draw_arrivals, read_autoscaler, simulate, timeline

SHORT = (Knot(0, 20), Knot(120, 20))


@pytest.fixture(scope="module")
def day() -> list[Minute]:
    return simulate(DAY, read_autoscaler())


@pytest.mark.slow
def test_it_grows_before_p99_breaks(day: list[Minute]) -> None:
    assert max(minute.p99_s for minute in day) < P99_S
    assert max(minute.replicas for minute in day) > 2 * day[0].replicas


@pytest.mark.slow
def test_it_shrinks_again_and_comes_to_rest(day: list[Minute]) -> None:
    assert {minute.replicas for minute in day[-15:]} == {2}
    assert len({minute.replicas for minute in day[20:30]}) == 1, "under a steady load the number is steady"


@pytest.mark.slow
def test_without_it_p99_breaks() -> None:
    minutes = simulate(DAY[:3], read_autoscaler(fixed=2))
    assert max(minute.p99_s for minute in minutes) > 10 * P99_S


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_triples_within_half_a_minute_breaks_p99_for_one_minute_at_most(seed: int) -> None:
    step = (Knot(0, 40), Knot(120, 40), Knot(150, 120), Knot(480, 120))
    minutes = simulate(step, read_autoscaler(), seed=seed)
    assert max(minute.p99_s for minute in minutes) < 2 * P99_S
    assert max(minute.p99_s for minute in minutes[3:]) < P99_S


def test_requests_that_are_never_served_are_not_in_the_queue_histogram_but_keep_the_model_busy() -> None:
    """Why there are two triggers: what runs out of time in the queue leaves no sample there."""
    overloaded = {"queue-wait": 0.0, "busy-models": 4.0}
    assert read_autoscaler(only="queue-wait").decide(600, overloaded, current=4, ready=4) < 4
    assert read_autoscaler().decide(600, overloaded, current=4, ready=4) > 4


def test_the_same_seed_gives_the_same_minutes_and_another_one_others() -> None:
    first, second, other = (simulate(SHORT, read_autoscaler(), seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_arrivals_follow_the_load_and_the_shares() -> None:
    until = draw_arrivals((Knot(0, 0), Knot(100, 200)), np.random.default_rng(3))
    early, late = until(20.0), until(100.0)
    assert len(early) == pytest.approx(400, rel=0.2)
    assert len(late) == pytest.approx(9600, rel=0.1)
    assert all(0 <= a.at <= b.at <= 20 for a, b in itertools.pairwise(early))
    assert sum(one.is_query for one in late) == pytest.approx(0.7 * len(late), rel=0.05)


def test_the_timeline_marks_minutes_that_broke() -> None:
    fine = Minute(60.0, 40.0, 2, 2, 0.01, 0.5, 0.1)
    head, first, second = timeline([fine, fine._replace(at_s=120.0, p99_s=0.6)])
    assert head.startswith("minute")
    assert "BROKEN" not in first
    assert second.endswith("BROKEN")
