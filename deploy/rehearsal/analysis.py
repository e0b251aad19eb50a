"""An analysis of live metrics as Argo Rollouts runs it: measurements when due, failures counted. No clock of its own.

A metric fails once it has more failed measurements than `failureLimit`, and errs once more measurements in a row than
`consecutiveErrorLimit` gave no value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.rehearsal.manifests import Metric

Measure = Callable[[str], float | None]
"""Runs a query; None: no value came of it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of one metric; `is_met` is None where there was no value."""

    metric: str
    value: float | None
    is_met: bool | None
    condition: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.metric}: no value"
        return f"{self.metric} {self.value:.3g}, {'met' if self.is_met else 'NOT MET'}: must be {self.condition}"


@dataclass(slots=True)
class _Watched:
    metric: Metric
    due_at: float
    failures: int = 0
    errors_in_a_row: int = 0

    def count(self, measurement: Measurement) -> None:
        self.errors_in_a_row = self.errors_in_a_row + 1 if measurement.is_met is None else 0
        self.failures += measurement.is_met is False

    @property
    def has_failed(self) -> bool:
        return self.failures > self.metric.failure_limit or self.errors_in_a_row > self.metric.error_limit


class LiveAnalysis:
    """Measures metrics at their intervals, all divided by `speed_up`."""

    def __init__(self, metrics: Sequence[Metric], measure: Measure, *, now: float, speed_up: float) -> None:
        self.last: dict[str, Measurement] = {}
        self._measure = measure
        self._speed_up = speed_up
        self._watched = [_Watched(metric, now + metric.initial_delay_s / speed_up) for metric in metrics]

    def tick(self, now: float) -> list[Measurement]:
        """Take the measurements that are due; returns those not met."""
        taken = []
        for watched in self._watched:
            if now < watched.due_at:
                continue
            watched.due_at = now + watched.metric.interval_s / self._speed_up
            measurement = self._take(watched.metric)
            watched.count(measurement)
            self.last[watched.metric.name] = measurement
            taken.append(measurement)
        return [measurement for measurement in taken if not measurement.is_met]

    @property
    def failed(self) -> tuple[str, ...]:
        """The metrics whose limit is passed: not empty means abort."""
        return tuple(watched.metric.name for watched in self._watched if watched.has_failed)

    def _take(self, metric: Metric) -> Measurement:
        assert metric.query is not None
        assert metric.condition is not None
        value = self._measure(metric.query)
        is_met = None if value is None else metric.condition.holds(value)
        return Measurement(metric.name, value, is_met, str(metric.condition))
