"""What there is to query: from the code of the service, or from a Prometheus that scrapes one."""

from collections.abc import Collection, Iterable, Mapping
from http import HTTPStatus

from deploy.monitoring.promql import Catalogue, Checked
from deploy.monitoring.written import Written
from service.metrics import Metrics
from service.shell import CLIENT_GONE, UNMATCHED_ROUTE

JOB = "inf-embed"
_TARGET: Mapping[str, frozenset[str] | None] = {
    "job": frozenset({JOB}),
    "instance": None,
    "track": frozenset({"stable", "canary"}),
}
"""Labels that Prometheus gives a target by prometheus.yml; the ServiceMonitor gives the same and a few more."""
_KUBERNETES = ("namespace", "pod", "container", "service", "endpoint")
_OPEN: Mapping[str, frozenset[str] | None] = {
    "route": None,
    "status": frozenset(map(str, (*HTTPStatus, CLIENT_GONE))),
    **dict.fromkeys(("error_type", "collection", "name", "fusion", "digest", "version")),
    **_TARGET,
}
"""Labels whose values depend on what happens; all others have each of their values from the start."""
_BY_PROMETHEUS: Catalogue = {
    **dict.fromkeys(("up", "scrape_duration_seconds", "scrape_samples_scraped"), _TARGET),
    "ALERTS": {**_TARGET, "alertname": None, "alertstate": frozenset({"pending", "firing"}), "severity": None},
}


def of_code(routes: Collection[str] | None = None) -> Catalogue:
    """List what the service exports by its code; with its routes, a route that it lacks is known too."""
    possible = {**_OPEN, "route": None if routes is None else frozenset({*routes, UNMATCHED_ROUTE})}
    found = dict(_BY_PROMETHEUS)
    for series in Metrics().series():
        labels = {name: values or possible.get(name) for name, values in series.labels.items()}
        found[series.name] = {**labels, **_TARGET}
    return found


def of_prometheus(series: Iterable[Mapping[str, str]]) -> Catalogue:
    """List what a Prometheus has scraped, as its `/api/v1/series` tells it; what its rules recorded is left out."""
    found: dict[str, dict[str, set[str]]] = {}
    for one in series:
        if ":" in one["__name__"] or one["__name__"].startswith("ALERTS"):
            continue
        labels = found.setdefault(one["__name__"], {})
        for name in one.keys() - {"__name__"}:
            labels.setdefault(name, set()).add(one[name])
    scraped = {
        metric: {name: _OPEN[name] if name in _OPEN else frozenset(values) for name, values in labels.items()}
        for metric, labels in found.items()
    }
    return {**_BY_PROMETHEUS, **scraped}


def in_kubernetes(catalogue: Catalogue, pod_labels: Iterable[str] = ()) -> Catalogue:
    """Add the labels that the Prometheus operator gives, and those that it takes over from pods."""
    added = dict.fromkeys((*_KUBERNETES, *pod_labels))
    return {metric: {**added, **labels} for metric, labels in catalogue.items()}


def with_recorded(catalogue: Catalogue, rules: Iterable[Written]) -> Catalogue:
    """Add what recording rules make, with the labels that their expressions leave."""
    known = dict(catalogue)
    for rule in rules:
        if rule.records is not None:
            labels = Checked(rule.expression, known).labels or frozenset()
            known[rule.records] = {name: _TARGET.get(name) for name in labels}
    return known
