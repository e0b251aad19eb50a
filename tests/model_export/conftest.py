"""Tiny bundles in every precision."""

from pathlib import Path

import pytest

from infembed.bundle import Precision
from infembed.inputs import Fusion
from tests.tiny import make_bundle, make_checkpoint, make_recipe


@pytest.fixture(scope="session", params=list(Fusion))
def any_precise_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with all precisions, of each fusion in turn; its recipe and checkpoint lie beside it."""
    directory = tmp_path_factory.mktemp("precise")
    checkpoint = make_checkpoint(directory / "checkpoint")
    bundle = make_bundle(checkpoint, directory, fusion=request.param, precisions=tuple(Precision))
    make_recipe(checkpoint, directory, bundle)
    return bundle
