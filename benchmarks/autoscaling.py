"""Whether the autoscaler of deploy/kubernetes grows before p99 breaks, and shrinks again: a simulated load.

    python -m benchmarks.autoscaling                         the load of docs/deployment.md, minute by minute
    python -m benchmarks.autoscaling --only queue-wait       with one of the triggers alone
    python -m benchmarks.autoscaling --fixed 2               with as many replicas as at the start
    python -m benchmarks.autoscaling --picture docs/pictures/autoscaling.svg

The thresholds, windows and rates are those of components/autoscaling/scaledobject.yaml; replicas are those of
`benchmarks/replicas.py`, the controller is that of `benchmarks/hpa.py`. Requests are 70 % queries of 16 tokens whose
instruction is remembered and 30 % documents of 128; they come at random moments and go to a random ready replica. The
same seed gives the same minutes.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from benchmarks.hpa import SYNC_S, Autoscaler
from benchmarks.replicas import MEASURED, SCRAPE_S, Arrival, Costs, Replica, Served, bucket_bounds, histogram_quantile

SCALED_OBJECT = Path(__file__).parents[1] / "deploy/kubernetes/components/autoscaling/scaledobject.yaml"
P99_S = 0.256
"""What breaks: p99 of whole requests above the latency objective of deploy/monitoring."""
SEED = 20261128
BUDGET = 4096
START_S = 30.0
"""From the decision to a ready replica: the start was measured, 4 s; scheduling and pulling a bundle are guessed."""
_QUERY_TOKENS = 16
_DOCUMENT_TOKENS = 128
_QUERY_SHARE = 0.7


class Knot(NamedTuple):
    """A corner of a load: from the one before, it grows or falls evenly."""

    at_s: float
    per_s: float


DAY = (Knot(0, 40), Knot(300, 40), Knot(900, 240), Knot(1800, 240), Knot(2100, 40), Knot(3300, 40))
"""Calm, six times as much within ten minutes, as much for a quarter of an hour, and calm again within five."""


class Minute(NamedTuple):
    """What one minute was like; the metrics are those the autoscaler saw at its end."""

    at_s: float
    per_s: float
    replicas: int
    ready: int
    queue_wait_s: float
    busy: float
    p99_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TRIGGER", help="leave out the other triggers")
    parser.add_argument("--fixed", type=int, metavar="N", help="no autoscaler: N replicas")
    parser.add_argument("--picture", type=Path, help="draw the minutes here, as SVG")
    arguments = parser.parse_args()
    minutes = simulate(DAY, read_autoscaler(only=arguments.only, fixed=arguments.fixed))
    print("\n".join(timeline(minutes)))
    worst = max(minute.p99_s for minute in minutes)
    print(f"\nworst minute: p99 {worst * 1000:.0f} ms, bound {P99_S * 1000:.0f} ms; ", end="")
    print(f"{sum(minute.replicas for minute in minutes) / 60:.1f} hours of replicas")
    if arguments.picture:
        draw(minutes, arguments.picture)


def read_autoscaler(*, only: str | None = None, fixed: int | None = None) -> Autoscaler:
    """Read the manifest; `only` keeps one trigger, `fixed` leaves the autoscaler no choice."""
    autoscaler = Autoscaler.read(yaml.safe_load(SCALED_OBJECT.read_text(encoding="utf-8")))
    if fixed is not None:
        autoscaler.least = autoscaler.most = fixed
    if only is not None:
        autoscaler.triggers = [trigger for trigger in autoscaler.triggers if trigger.name == only]
    return autoscaler


def simulate(
    knots: Sequence[Knot], autoscaler: Autoscaler, *, costs: Costs = MEASURED, seed: int = SEED
) -> list[Minute]:
    """Run a load against replicas that the autoscaler adds and takes away."""
    arrivals = draw_arrivals(knots, np.random.default_rng(seed))
    fleet = Fleet(autoscaler.least, costs, np.random.default_rng(seed + 1))
    minutes: list[Minute] = []
    served: list[Served] = []
    for now in np.arange(SYNC_S, knots[-1].at_s + SYNC_S, SYNC_S).tolist():
        served += fleet.advance(arrivals(now), until=now)
        values = fleet.metrics(now)
        fleet.scale(now, autoscaler.decide(now, values, current=fleet.size, ready=fleet.n_ready(now)))
        if now % 60 == 0:
            minutes.append(_minute(now, fleet, values, served))
            served = []
    return minutes


def draw_arrivals(knots: Sequence[Knot], random: np.random.Generator) -> Callable[[float], list[Arrival]]:
    """Return a function that gives the arrivals of the next stretch of time: Poisson, at the rate of its middle."""
    began = 0.0

    def until(end: float) -> list[Arrival]:
        nonlocal began
        middle = (began + end) / 2
        per_s = float(np.interp(middle, [knot.at_s for knot in knots], [knot.per_s for knot in knots]))
        n = int(random.poisson(per_s * (end - began)))
        times = np.sort(random.uniform(began, end, n)).tolist()
        are_queries = (random.random(n) < _QUERY_SHARE).tolist()
        began = end
        return [
            Arrival(at, _QUERY_TOKENS if is_query else _DOCUMENT_TOKENS, is_query)
            for at, is_query in zip(times, are_queries, strict=True)
        ]

    return until


@dataclass
class Fleet:
    """Replicas, those that are starting and those that are ending included."""

    n_first: int
    costs: Costs
    random: np.random.Generator
    _bounds: tuple[float, ...] = field(default_factory=bucket_bounds, init=False)
    _ready_at: dict[Replica, float] = field(default_factory=dict, init=False)
    _ending: list[Replica] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._add(self.n_first, ready_at=0.0)

    @property
    def size(self) -> int:
        return len(self._ready_at)

    def n_ready(self, now: float) -> int:
        """Count the replicas that take requests."""
        return len(self._ready(now))

    def scale(self, now: float, size: int) -> None:
        """Start or end replicas, the newest first; those that end finish what they have."""
        self._add(size - self.size, ready_at=now + START_S)
        for replica in list(self._ready_at)[size:]:
            del self._ready_at[replica]
            self._ending.append(replica)

    def advance(self, arrivals: Sequence[Arrival], *, until: float) -> list[Served]:
        """Give each request to a random ready replica."""
        ready = self._ready(until - SYNC_S)
        shares: dict[Replica, list[Arrival]] = {replica: [] for replica in ready}
        for arrival, chosen in zip(arrivals, self.random.integers(len(ready), size=len(arrivals)), strict=True):
            shares[ready[chosen]].append(arrival)
        done = [replica.advance(share, until=until) for replica, share in shares.items()]
        done += [replica.advance((), until=math.inf) for replica in self._ending]
        return [one for some in done for one in some]

    def metrics(self, now: float) -> dict[str, float]:
        """Scrape, and evaluate the queries of the triggers."""
        assert now % SCRAPE_S == 0
        for replica in self._ready(now):
            replica.scrape(now)
        for replica in self._ending:
            replica.forget(now)
        known = [*self._ready_at, *self._ending]
        waits = [sum(rates) for rates in zip(*(replica.wait_rates for replica in known), strict=True)]
        wait = histogram_quantile(0.95, self._bounds, waits)
        return {
            "queue-wait": wait if wait > 0 else 0.0,
            "busy-models": sum(replica.busy_rate for replica in known),
        }

    def _ready(self, now: float) -> list[Replica]:
        return [replica for replica, ready_at in self._ready_at.items() if ready_at <= now]

    def _add(self, n: int, *, ready_at: float) -> None:
        for _ in range(n):
            self._ready_at[Replica(self.costs, budget=BUDGET, bounds=self._bounds)] = ready_at


def _minute(now: float, fleet: Fleet, values: Mapping[str, float], served: Sequence[Served]) -> Minute:
    took = [one.took_s for one in served]
    return Minute(
        at_s=now,
        per_s=len(served) / 60,
        replicas=fleet.size,
        ready=fleet.n_ready(now),
        queue_wait_s=values["queue-wait"],
        busy=values["busy-models"],
        p99_s=float(np.percentile(took, 99)) if took else 0.0,
    )


def timeline(minutes: Sequence[Minute]) -> Iterator[str]:
    """Write a line a minute."""
    yield "minute  requests/s  replicas  ready  queue p95 ms  busy models  p99 ms"
    for one in minutes:
        mark = "  BROKEN" if one.p99_s > P99_S else ""
        yield (
            f"{one.at_s / 60:6.0f}  {one.per_s:10.0f}  {one.replicas:8}  {one.ready:5}  "
            f"{one.queue_wait_s * 1000:12.0f}  {one.busy:11.2f}  {one.p99_s * 1000:6.0f}{mark}"
        )


def draw(minutes: Sequence[Minute], path: Path) -> None:
    """Draw load, replicas and latency over each other."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "inf-embed", "font.family": "sans-serif"})
    figure, panels = plt.subplots(3, 1, figsize=(7.5, 6), sharex=True, layout="constrained")
    x = [one.at_s / 60 for one in minutes]
    panels[0].plot(x, [one.per_s for one in minutes], color="0.3")
    panels[0].set_ylabel("requests per second")
    panels[1].step(x, [one.replicas for one in minutes], where="post", label="replicas")
    panels[1].plot(x, [one.busy for one in minutes], linestyle="--", label="busy models")
    panels[1].set_ylabel("replicas")
    panels[1].legend(frameon=False)
    panels[2].plot(x, [one.p99_s * 1000 for one in minutes], label="p99 of requests")
    panels[2].plot(x, [one.queue_wait_s * 1000 for one in minutes], linestyle="--", label="queue wait, p95")
    panels[2].axhline(P99_S * 1000, color="0.7", linewidth=1, label="objective of p99")
    panels[2].set_ylabel("milliseconds")
    panels[2].set_xlabel("minute")
    panels[2].legend(frameon=False)
    for panel in panels:
        panel.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
