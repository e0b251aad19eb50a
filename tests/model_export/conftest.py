"""Tiny bundles in every precision."""

from pathlib import Path

import pytest

from infembed.inputs import Fusion
from tests.tiny import make_precise_bundle


@pytest.fixture(scope="session", params=list(Fusion))
def any_precise_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with every precision, of each fusion in turn."""
    return make_precise_bundle(tmp_path_factory.mktemp("precise"), fusion=request.param)
