"""A model of replicas of the service under load: their batches, their metrics, and what Prometheus makes of these.

A replica forms batches as `service/queue.py` does: what waits becomes a batch by the service's own policy as soon as
fewer than two are under way, and one batch runs at a time. The model runs a batch's queries and documents apart, in the
encoder's own runs of similar length; a run takes a fixed time and a time for each padded token.
"""

import itertools
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from infembed.encoder import plan_batches
from service.batching import Size, fill_batch
from service.metrics import Metrics

_WINDOW_INPUTS = 1024
_RUN_TOKENS = 512
SCRAPE_S = 15.0
RANGE_S = 60.0


class Arrival(NamedTuple):
    """A request of one input."""

    at: float
    tokens: int
    is_query: bool = True


class Costs(NamedTuple):
    """What a replica needs: seconds of the model for a run and a padded token, and of HTTP for a request."""

    run_s: float
    token_s: float
    request_s: float

    def model_s(self, batch: Sequence[Arrival]) -> float:
        """Return how long the model takes for a batch."""
        queries = [one.tokens for one in batch if one.is_query]
        documents = [one.tokens for one in batch if not one.is_query]
        return sum(
            self.run_s + self.token_s * len(run) * lengths[run[0]]
            for lengths in (queries, documents)
            for run in plan_batches(lengths, max_batch_tokens=_RUN_TOKENS)
        )


MEASURED = Costs(run_s=0.0017, token_s=0.00024, request_s=0.0024)
"""all-MiniLM-L6-v2 in fp32 on one thread: the line through "Every engine, every shape" of docs/experiments.md, and what
is left of a request besides the model in "Remembered instructions against `concat`"."""


class Served(NamedTuple):
    """When a request came, how long it waited for its batch as the service measures it, and how long it took in all."""

    at: float
    waited_s: float
    took_s: float


def bucket_bounds() -> tuple[float, ...]:
    """Return the upper bounds of the service's histograms of seconds, as it exports them."""
    families = text_string_to_metric_families(Metrics().render().decode())
    (family,) = (one for one in families if one.name == "infembed_batch_duration_seconds")
    return tuple(float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket"))


@dataclass(frozen=True, slots=True)
class Sample:
    """One scrape of a replica: cumulative counts of waits by bucket, seconds its model was busy."""

    at: float
    waits: tuple[int, ...]
    busy_s: float


class Replica:
    """Serves arrivals in the order of time."""

    def __init__(self, costs: Costs, *, budget: int, bounds: Sequence[float]) -> None:
        self._costs = costs
        self._budget = budget
        self._bounds = bounds
        self._waiting: list[Arrival] = []
        self._ends = (0.0, 0.0)
        self._waits = [0] * len(bounds)
        self._busy_s = 0.0
        self._samples: deque[Sample] = deque()

    def advance(self, arrivals: Iterable[Arrival], *, until: float) -> list[Served]:
        """Take what arrives before `until`, form the batches that begin before it, and say what became of them."""
        self._waiting.extend(arrivals)
        served: list[Served] = []
        while self._waiting:
            formed_at = max(self._waiting[0].at, self._ends[0])
            if formed_at >= until:
                break
            batch = self._take(formed_at)
            seconds = self._costs.model_s(batch)
            end = max(formed_at, self._ends[1]) + seconds
            self._ends = (self._ends[1], end)
            self._busy_s += seconds
            for one in batch:
                waited_s = formed_at - one.at
                self._waits[bisect_left(self._bounds, waited_s)] += 1
                served.append(Served(one.at, waited_s, end - one.at + self._costs.request_s))
        return served

    def scrape(self, now: float) -> None:
        """Remember the counters, as Prometheus does."""
        self._samples.append(Sample(now, tuple(itertools.accumulate(self._waits)), self._busy_s))
        self.forget(now)

    def forget(self, now: float) -> None:
        """Drop samples that have left the range of the queries."""
        while self._samples and self._samples[0].at <= now - RANGE_S:
            self._samples.popleft()

    @property
    def wait_rates(self) -> list[float]:
        """`rate(..._bucket[1m])`; zero where there are not two samples."""
        if len(self._samples) < 2:
            return [0.0] * len(self._bounds)
        first, last = self._samples[0], self._samples[-1]
        return [(b - a) / (last.at - first.at) for a, b in zip(first.waits, last.waits, strict=True)]

    @property
    def busy_rate(self) -> float:
        """`rate(infembed_model_busy_seconds_total[1m])`."""
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return (last.busy_s - first.busy_s) / (last.at - first.at)

    def _take(self, now: float) -> list[Arrival]:
        """Take the next batch out of those that wait."""
        n_here = 0
        for arrival in itertools.islice(self._waiting, _WINDOW_INPUTS):
            if arrival.at > now:
                break
            n_here += 1
        rows = fill_batch([Size(one.tokens) for one in self._waiting[:n_here]], budget=self._budget)
        batch = [self._waiting[row] for row in rows]
        if len(rows) == rows[-1] + 1:
            del self._waiting[: len(rows)]
        else:
            for row in reversed(rows):
                del self._waiting[row]
        return batch


def histogram_quantile(q: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float:
    """Interpolate as PromQL does; NaN where nothing was counted."""
    total = cumulative[-1]
    if not total:
        return math.nan
    rank = q * total
    bucket = next(i for i, count in enumerate(cumulative) if count >= rank)
    if math.isinf(bounds[bucket]):
        return bounds[bucket - 1]
    low, below = (bounds[bucket - 1], cumulative[bucket - 1]) if bucket else (0.0, 0.0)
    return low + (bounds[bucket] - low) * (rank - below) / (cumulative[bucket] - below)
