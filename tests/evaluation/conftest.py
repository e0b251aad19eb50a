"""Reports of models that follow instructions a little and much, on small suites."""

import pytest

from evaluation.report import Report
from evaluation.suites.layout import Suite
from tests.evaluation.models import (
    FollowingEncoder,
    facet_suite,
    plain_suite,
    report_of,
    stance_suite,
)


@pytest.fixture(scope="session")
def suites() -> list[Suite]:
    return [facet_suite(), stance_suite(), plain_suite()]


@pytest.fixture(scope="session")
def champion(suites: list[Suite]) -> Report:
    return report_of(FollowingEncoder(0.15), suites, name="champion")


@pytest.fixture(scope="session")
def better(suites: list[Suite]) -> Report:
    return report_of(FollowingEncoder(0.5), suites, name="better")
