"""The pictures of a report: forest plots of p-MRR, instruction lift against quality, and differences of two models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from evaluation.page.drawing import ACCENT, GRID, INK, MUTED, SECOND, SURFACE, Words, draw, quiet_axes
from evaluation.page.words import points
from evaluation.report import Estimate

_ROW_IN = 0.34
_FRAME_IN = 0.62
_LEGEND_IN = 0.3
_GAP = 5
_PLACES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Where a point's name may stand: right or left of it, above or below; best first."""
_ACROSS: tuple[Literal["left", "center", "right"], ...] = ("right", "center", "left")
_UP: tuple[Literal["bottom", "center", "top"], ...] = ("top", "center", "bottom")


@dataclass(frozen=True)
class Row:
    """One line of a forest plot: an estimate, and perhaps another to hold it against."""

    label: str
    estimate: Estimate
    other: Estimate | None = None
    is_mean: bool = False


@dataclass(frozen=True)
class Named:
    """What the two estimates of a row are called."""

    first: str
    second: str = ""


@dataclass(frozen=True)
class Point:
    """One suite in a scatter plot."""

    label: str
    x: Estimate
    y: Estimate


def forest(words: Words, rows: Sequence[Row], *, names: Named, axis: str, band: float | None = None) -> Markup:
    """Draw estimates with their intervals, one row each; `band` shades what counts as no loss, below zero."""
    has_other = any(row.other for row in rows)
    places = _places(rows)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        quiet_axes(axes)
        axes.axvline(0, color=MUTED, linewidth=1)
        if band is not None:
            axes.axvspan(-band * 100, 0, color=GRID, alpha=0.5, linewidth=0)
        for place, row in zip(places, rows, strict=True):
            _row(axes, row, place=place, has_other=has_other)
        axes.set_yticks(places, [row.label for row in rows])
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if row.is_mean else "normal")
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_xlabel(axis)
        axes.margins(x=0.04)
        _values_on_the_right(axes, places, rows)
        if has_other:
            _legend(axes, names)

    height_in = _FRAME_IN + _ROW_IN * (places[-1] + 1) + (_LEGEND_IN if has_other else 0)
    return draw(words, paint, height_in=height_in)


def scatter(words: Words, shown: Sequence[Point], *, x_axis: str, y_axis: str) -> Markup:
    """Draw one point a suite with both intervals; labels are placed so that none covers a point or a label."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        quiet_axes(axes)
        axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
        axes.axhline(0, color=MUTED, linewidth=1)
        for point in shown:
            for x, y in ((_ends(point.x), (point.y.mean,) * 2), ((point.x.mean,) * 2, _ends(point.y))):
                axes.plot([v * 100 for v in x], [v * 100 for v in y], color=ACCENT, alpha=0.45, linewidth=1.2)
            axes.plot(
                point.x.mean * 100, point.y.mean * 100, "o", color=ACCENT, markersize=6.5, markeredgecolor=SURFACE
            )
        axes.set_xlabel(x_axis)
        axes.set_ylabel(y_axis)
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.margins(0.12)
        _label_points(figure, axes, shown)

    return draw(words, paint, height_in=3.7)


def _places(rows: Sequence[Row]) -> list[float]:
    """Return where each row stands, counted from the top; what follows a mean stands a little apart from it."""
    places = [0.0]
    for before in rows[:-1]:
        places.append(places[-1] + (1.5 if before.is_mean else 1.0))
    return places


def _row(axes: Axes, row: Row, *, place: float, has_other: bool) -> None:
    shift = 0.14 if has_other else 0.0
    if row.other is not None:
        _interval(axes, row.other, place=place + shift, colour=SECOND, is_filled=False)
    _interval(axes, row.estimate, place=place - shift, colour=INK if row.is_mean else ACCENT, is_filled=True)


def _interval(axes: Axes, found: Estimate, *, place: float, colour: str, is_filled: bool) -> None:
    low, high = _ends(found)
    axes.plot([low * 100, high * 100], [place, place], color=colour, linewidth=1.8 if is_filled else 1.2)
    face = colour if is_filled else SURFACE
    size = 6.0 if is_filled else 5.0
    axes.plot(found.mean * 100, place, "o", markersize=size, markerfacecolor=face, markeredgecolor=colour)


def _values_on_the_right(axes: Axes, places: Sequence[float], rows: Sequence[Row]) -> None:
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.tick_params(length=0)
    right.set_yticks(places, [_value(row.estimate) for row in rows])
    for tick, row in zip(right.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.is_mean else "normal")


def _value(found: Estimate) -> str:
    mean = points(found.mean, signed=True)
    if found.low is None or found.high is None:
        return f"{mean}  ({found.n_topics} topics)"
    return f"{mean}  [{points(found.low)}, {points(found.high)}]"


def _legend(axes: Axes, names: Named) -> None:
    axes.plot([], [], "o-", color=ACCENT, markersize=6.0, linewidth=1.8, label=names.first)
    axes.plot([], [], "o-", color=SECOND, markerfacecolor=SURFACE, markersize=5.0, linewidth=1.2, label=names.second)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.8,
        fontsize=8.5,
    )


class _Place(NamedTuple):
    """A name written at one of the places around its point."""

    text: Annotation
    box: Bbox
    n_covered: int


def _label_points(figure: Figure, axes: Axes, shown: Sequence[Point]) -> None:
    """Name every point where its name covers the fewest points, intervals and names."""
    figure.draw_without_rendering()
    taken = [line.get_window_extent() for line in axes.lines if line.get_color() == ACCENT]
    for point in shown:
        tried = [_write_label(axes, point, taken, across=across, up=up) for across, up in _PLACES]
        best = min(tried, key=lambda place: place.n_covered)
        for place in tried:
            if place is not best:
                place.text.remove()
        taken.append(best.box)


def _write_label(axes: Axes, point: Point, taken: Sequence[Bbox], *, across: int, up: int) -> _Place:
    text = axes.annotate(
        point.label,
        (point.x.mean * 100, point.y.mean * 100),
        xytext=(across * _GAP, up * _GAP),
        textcoords="offset points",
        horizontalalignment=_ACROSS[across + 1],
        verticalalignment=_UP[up + 1],
        fontsize=8.5,
    )
    text.set_in_layout(False)
    box, frame = text.get_window_extent(), axes.get_window_extent()
    is_inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
    return _Place(text, box, box.count_overlaps(taken) + (0 if is_inside else len(taken) + 1))


def _ends(found: Estimate) -> tuple[float, float]:
    if found.low is None or found.high is None:
        return found.mean, found.mean
    return found.low, found.high
