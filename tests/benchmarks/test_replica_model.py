import math

import pytest

from benchmarks.replicas import MEASURED, Arrival, Costs, Replica, bucket_bounds, histogram_quantile

PLAIN = Costs(run_s=0.0, token_s=0.001, request_s=0.0)
BOUNDS = (0.01, 0.1, 1.0, math.inf)


def _replica(*, budget: int = 100) -> Replica:
    return Replica(PLAIN, budget=budget, bounds=BOUNDS)


@pytest.mark.parametrize(
    ("rows", "tokens", "measured_ms"),
    [
        (1, 8, 8.4 / 2.3),
        (8, 8, 22.8 / 1.3),
        (32, 8, 66.6 / 1.1),
        (1, 16, 10.5 / 2.0),
        (1, 32, 14.3 / 1.6),
        (8, 32, 65.1 / 1.1),
        (1, 128, 37.3 / 1.2),
    ],
)
def test_costs_are_those_that_were_measured(rows: int, tokens: int, measured_ms: float) -> None:
    """ "Every engine, every shape" of docs/experiments.md: PyTorch's time and how many times as fast the bundle is."""
    batch = [Arrival(0.0, tokens)] * rows
    assert MEASURED.model_s(batch) * 1000 == pytest.approx(measured_ms, rel=0.1)


def test_queries_and_documents_are_run_apart_and_long_batches_in_runs() -> None:
    query, document = Arrival(0.0, 16), Arrival(0.0, 128, is_query=False)
    costs = Costs(run_s=1.0, token_s=0.0, request_s=0.0)
    assert costs.model_s([query, query]) == 1
    assert costs.model_s([query, document]) == 2
    assert costs.model_s([document] * 5) == 2


def test_an_idle_replica_begins_at_once() -> None:
    (served,) = _replica().advance([Arrival(1.0, 10)], until=15.0)
    assert served.waited_s == 0
    assert served.took_s == pytest.approx(0.01)


def test_one_batch_runs_and_one_is_ready_so_the_third_waits_for_the_first() -> None:
    arrivals = [Arrival(0.0, 100), Arrival(0.01, 100), Arrival(0.02, 10), Arrival(0.03, 10)]
    first, second, third, fourth = _replica().advance(arrivals, until=15.0)
    assert (first.waited_s, second.waited_s) == (0, 0)
    assert second.took_s == pytest.approx(0.2 - 0.01)
    assert third.waited_s == pytest.approx(0.1 - 0.02)
    assert fourth.waited_s == pytest.approx(0.1 - 0.03), "it shares the batch of the third"
    assert fourth.took_s == pytest.approx(0.22 - 0.03)


def test_what_has_not_begun_waits_for_the_next_stretch_of_time() -> None:
    replica = _replica()
    arrivals = [Arrival(0.0, 100)] * 3
    assert len(replica.advance(arrivals, until=0.05)) == 2
    (last,) = replica.advance([], until=1.0)
    assert last.took_s == pytest.approx(0.3)


def test_rates_need_two_scrapes_and_forget_what_is_out_of_range() -> None:
    replica = _replica()
    replica.scrape(0.0)
    assert replica.busy_rate == 0
    replica.advance([Arrival(1.0, 100), Arrival(1.0, 100), Arrival(1.05, 100)], until=15.0)
    replica.scrape(15.0)
    assert replica.busy_rate == pytest.approx(0.3 / 15)
    assert replica.wait_rates == pytest.approx([2 / 15, 3 / 15, 3 / 15, 3 / 15])
    replica.forget(75.0)
    assert replica.busy_rate == 0


def test_a_quantile_is_interpolated_within_its_bucket_as_prometheus_does() -> None:
    assert histogram_quantile(0.5, BOUNDS, [0.0, 10.0, 10.0, 10.0]) == pytest.approx(0.055)
    assert histogram_quantile(0.5, BOUNDS, [10.0, 10.0, 10.0, 10.0]) == pytest.approx(0.005)
    assert histogram_quantile(0.95, BOUNDS, [0.0, 0.0, 0.0, 10.0]) == 1.0
    assert math.isnan(histogram_quantile(0.95, BOUNDS, [0.0, 0.0, 0.0, 0.0]))


def test_the_buckets_are_the_services() -> None:
    bounds = bucket_bounds()
    assert list(bounds) == sorted(bounds)
    assert 0.032 in bounds
    assert math.isinf(bounds[-1])
