"""A corpus report as one HTML page: problems first, then what the corpus is made of."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from evaluation.page import ACCENT, Words, draw, quiet_axes, render_page
from training.corpus.validation.report import CorpusReport, Lengths

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_BARS = 60


def corpus_page(report: CorpusReport) -> str:
    """Write a report as one page that needs nothing else."""
    counts = {
        "type": report.types,
        "domain": report.domains,
        "source": report.sources,
        "licence": report.licenses,
    }
    figures = {name: _bars(name, found) for name, found in counts.items() if found}
    lengths = _ranges(report.lengths) if report.lengths else None
    return render_page(
        "corpus.html.j2",
        templates=_TEMPLATES,
        title=f"{Path(report.path).name}: corpus",
        report=report,
        figures=figures,
        lengths=lengths,
        most_bars=_MOST_BARS,
    )


def _bars(name: str, counts: Mapping[str, int]) -> Markup:
    shown = dict(islice(counts.items(), _MOST_BARS))
    words = Words(
        name=f"by-{name}",
        title=f"Rows by {name}",
        description="; ".join(f"{label} {n:,}" for label, n in shown.items()),
    )

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        quiet_axes(axes)
        places = range(len(shown))
        axes.barh(places, list(shown.values()), color=ACCENT, height=0.6)
        axes.set_yticks(places, [_short(label) for label in shown])
        for place, n in zip(places, shown.values(), strict=True):
            axes.annotate(f"{n:,}", (n, place), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.margins(x=0.1)

    return draw(words, paint, height_in=0.5 + 0.24 * len(shown))


def _ranges(lengths: Mapping[str, Lengths]) -> Markup:
    described = (
        f"{name}: median {found.median:.0f}, 5 to 95 % {found.p5:.0f} to {found.p95:.0f}"
        for name, found in lengths.items()
    )
    words = Words(name="lengths", title="Words by column", description="; ".join(described))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        quiet_axes(axes)
        places = range(len(lengths))
        found = list(lengths.values())
        axes.hlines(places, [one.least for one in found], [one.most for one in found], color=ACCENT, linewidth=0.8)
        axes.hlines(places, [one.p5 for one in found], [one.p95 for one in found], color=ACCENT, linewidth=4)
        axes.plot([one.median for one in found], places, "o", color=ACCENT)
        axes.set_yticks(places, list(lengths))
        axes.set_ylim(len(lengths) - 0.4, -0.6)
        axes.set_xscale("symlog", linthresh=10)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("words: least to most, 5 to 95 % (thick), median (dot)")

    return draw(words, paint, height_in=0.7 + 0.32 * len(lengths))


def _short(label: str) -> str:
    return label if len(label) <= 32 else f"{label[:31]}…"
