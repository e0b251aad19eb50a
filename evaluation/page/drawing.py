"""Matplotlib figures as inline SVG that follows the page: its colours, its font, light and dark, screen and paper."""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT, SECOND, SURFACE = "#000001", "#000002", "#000003", "#000004", "#000005", "#000006"
_ROLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    SURFACE: "var(--surface)",
}
"""Stand-ins that matplotlib accepts as colours, and the page's colours they become."""

WIDTH_IN = 7.4
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, readable aloud, in the page's font
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is wider than what pages use: labels will fit
    "text.parse_math": False,  # a dollar sign in a suite's name is a dollar sign
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.left": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}
_FONT = re.compile(r"font-family: [^;\"]*")
_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')
_NO_METADATA: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}


class Words(NamedTuple):
    """What is read aloud in place of a picture; `name` keeps the ids of several pictures in one page apart."""

    name: str
    title: str
    description: str


def draw(words: Words, paint: Callable[[Figure], None], *, height_in: float) -> Markup:
    """Let `paint` draw on a figure as wide as the page's text; returns an SVG element."""
    buffer = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": words.name}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        paint(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    return Markup(_adopt(buffer.getvalue(), words))  # noqa: S704 - matplotlib escapes what it writes, we the rest


def quiet_axes(axes: Axes) -> None:
    """Take away what is not data: ticks, and all but faint lines."""
    axes.tick_params(length=0)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _adopt(svg: str, words: Words) -> str:
    """Fit matplotlib's SVG into a page: own ids, the page's colours and font, its width, no style for others."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = _ID.sub(lambda found: f"{found[1]}{words.name}-", svg)
    svg = _FONT.sub("font-family: var(--font)", svg)
    for stand_in, colour in _ROLES.items():
        svg = svg.replace(stand_in, colour)
    tag, rest = svg.split(">", maxsplit=1)
    tag = re.sub(r'\s(width|height|version)="[^"]*"', "", tag)
    label = f'{tag} role="img" aria-labelledby="{words.name}-title {words.name}-desc">'
    title = f'<title id="{words.name}-title">{escape(words.title)}</title>'
    description = f'<desc id="{words.name}-desc">{escape(words.description)}</desc>'
    return label + title + description + rest
