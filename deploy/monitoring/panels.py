"""Panels of a dashboard, as Grafana's JSON wants them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_COLUMNS = 24
_HEIGHT = 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Unit(StrEnum):
    """Grafana's names of units."""

    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "percentunit"
    REQUESTS_PER_S = "reqps"
    PER_S = "cps"
    NUMBER = "short"
    YES_OR_NO = "bool_yes_no"


class Kind(StrEnum):
    """How a panel shows its numbers."""

    LINES = "timeseries"
    NUMBER = "stat"
    HEATMAP = "heatmap"


class Colour(StrEnum):
    """What a value means."""

    GOOD = "green"
    WARNING = "orange"
    BAD = "red"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and how each of its series is called."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A question with its answer; `steps` say from which value on what colour holds, below the first of them `base`."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    steps: Mapping[float, Colour] | None = None
    base: Colour = Colour.GOOD
    kind: Kind = Kind.LINES
    is_stacked: bool = False
    width: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that answer one question together."""

    title: str
    panels: tuple[Panel, ...]


def laid_out(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Write rows and panels with numbers and positions, left to right, top to bottom."""
    written: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        grid = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        written.append({"type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": grid})
        top += 1
        for panel, left, down in _positions(row.panels):
            grid = {"x": left, "y": top + down, "w": panel.width, "h": _HEIGHT}
            written.append({**_panel(panel), "gridPos": grid})
        top = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in written)
    return [{"id": number, **panel} for number, panel in enumerate(written, start=1)]


def _positions(panels: Iterable[Panel]) -> Iterator[tuple[Panel, int, int]]:
    left = down = 0
    for panel in panels:
        if left + panel.width > _COLUMNS:
            left, down = 0, down + _HEIGHT
        yield panel, left, down
        left += panel.width


def _panel(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": panel.base, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in (panel.steps or {}).items()]
    custom: dict[str, Any] = {}
    if panel.kind is Kind.LINES:
        custom = {
            "fillOpacity": 20 if panel.is_stacked else 0,
            "stacking": {"mode": "normal" if panel.is_stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "targets": [_target(panel, query, letter) for query, letter in zip(panel.queries, "ABCDEF", strict=False)],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"color": {"mode": "thresholds"}} if panel.kind is Kind.NUMBER else {}),
            },
            "overrides": [],
        },
        "options": _options(panel),
    }


def _target(panel: Panel, query: Query, letter: str) -> dict[str, Any]:
    return {
        "refId": letter,
        "datasource": _DATASOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "range": panel.kind is not Kind.NUMBER,
        "instant": panel.kind is Kind.NUMBER,
        "format": "heatmap" if panel.kind is Kind.HEATMAP else "time_series",
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind is Kind.NUMBER:
        return {"textMode": "value_and_name", "colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind is Kind.HEATMAP:
        return {"calculate": False, "yAxis": {"unit": panel.unit}}
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
