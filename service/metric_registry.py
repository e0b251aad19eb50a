"""Prometheus metrics whose labels are known beforehand: what can be counted at all starts at zero, and can be listed.

To Prometheus, a counter that appears with its first event never rose: `rate` needs the zero before it.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, asked for by nobody

Values = Iterable[str] | None
"""What a label can be; None: not known beforehand."""
_M = TypeVar("_M", bound=MetricWrapperBase)


class Series(NamedTuple):
    """A name that Prometheus learns, and its labels with the values they can have."""

    name: str
    labels: Mapping[str, frozenset[str] | None]


class MetricRegistry:
    """Metrics of one application, and those of its process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._process = ProcessCollector(registry=self._registry)
        self._series: list[Series] = []

    def counter(self, name: str, meaning: str, /, **labels: Values) -> Counter:
        self._describe(f"{name}_total", labels)
        return _at_zero(Counter(name, meaning, list(labels), registry=self._registry), labels)

    def gauge(self, name: str, meaning: str, /, **labels: Values) -> Gauge:
        self._describe(name, labels)
        return _at_zero(Gauge(name, meaning, list(labels), registry=self._registry), labels)

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], /, **labels: Values) -> Histogram:
        bounds = [floatToGoString(bound) for bound in (*buckets, float("inf"))]  # type: ignore[no-untyped-call]
        self._describe(f"{name}_bucket", {**labels, "le": bounds})
        self._describe(f"{name}_sum", labels)
        self._describe(f"{name}_count", labels)
        return _at_zero(Histogram(name, meaning, list(labels), buckets=buckets, registry=self._registry), labels)

    def info(self, name: str, meaning: str, facts: Iterable[str]) -> Info:
        self._describe(f"{name}_info", dict.fromkeys(facts))
        return Info(name, meaning, registry=self._registry)

    def series(self) -> list[Series]:
        """List what Prometheus learns from here, so that queries can be checked without one."""
        process = [Series(sample.name, {}) for family in self._process.collect() for sample in family.samples]
        return process + self._series

    def render(self) -> bytes:
        """Write everything in Prometheus text format."""
        return generate_latest(self._registry)

    def _describe(self, name: str, labels: Mapping[str, Values]) -> None:
        known = {label: None if values is None else frozenset(map(str, values)) for label, values in labels.items()}
        self._series.append(Series(name, known))


def _at_zero(metric: _M, labels: Mapping[str, Values]) -> _M:
    """Make every series whose labels are known beforehand."""
    known = [list(values) for values in labels.values() if values is not None]
    if labels and len(known) == len(labels):
        for values in product(*known):
            metric.labels(*map(str, values))
    return metric
