"""Reports and decisions as self-contained HTML pages."""

from evaluation.page.contest import contest_page
from evaluation.page.report import report_page

__all__ = ["contest_page", "report_page"]
