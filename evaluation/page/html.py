"""The templates, with every text escaped, and what they may call."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluation.page import words
from evaluation.report import Measure

_HERE = Path(__file__).parent


def render_page(template: str, *, templates: Path | None = None, **values: object) -> str:
    """Render a template with the page's style inlined, so that the page needs no other file.

    `templates` is the directory of another package's template, which may extend `page.html.j2`.
    """
    style = Markup((_HERE / "templates" / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return _environment(templates).get_template(template).render(style=style, **values)


@cache
def _environment(templates: Path | None) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([*([templates] if templates else []), _HERE / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(Measure=Measure, meaning=words.MEANING)
    environment.filters.update(
        points=words.points, interval=words.interval, direction=words.direction, is_right=words.is_right
    )
    return environment
