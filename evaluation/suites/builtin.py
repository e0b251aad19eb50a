"""Suites that lie in this package, so that every machine can measure instruction following without a download."""

from pathlib import Path

from evaluation.suites.layout import Suite
from evaluation.suites.storage import load_suite

_DIRECTORY = Path(__file__).parent

BUILTIN = ("instruct-mini", "instruct-mini-2", "like-mini")


def load_builtin(name: str) -> Suite:
    """Read a suite of this package."""
    return load_suite(_DIRECTORY / name)
