"""Tiny bundles in every precision."""

from pathlib import Path

import pytest

from infembed.bundle import Precision
from infembed.inputs import Fusion
from model_export.assemble import assemble
from tests.tiny import make_tiny_bundle


@pytest.fixture(scope="session", params=list(Fusion))
def any_precise_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with all precisions, of each fusion in turn; its recipe and checkpoint lie beside it."""
    directory = tmp_path_factory.mktemp("precise")
    make_tiny_bundle(directory, fusion=request.param)
    assemble(directory / "recipe", directory / "all", precisions=tuple(Precision), weights=directory / "checkpoint")
    return directory / "all"
