"""Reports and decisions as self-contained HTML pages, and what other pages of the project are made with."""

from evaluation.page.contest import contest_page
from evaluation.page.drawing import ACCENT, Words, draw, quiet_axes
from evaluation.page.html import render_page
from evaluation.page.report import report_page

__all__ = ["ACCENT", "Words", "contest_page", "draw", "quiet_axes", "render_page", "report_page"]
