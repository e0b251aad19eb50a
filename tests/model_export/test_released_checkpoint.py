"""A released model as a checkpoint: the same vectors in torch, and only from intact files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation.encoders import open_checkpoint
from infembed.encoder import OnnxEncoder
from infembed.errors import AlteredArtefactError, BadConfigError
from infembed.inputs import InputType, TextInput
from model_export.assemble import BASE_RECIPE, DEFAULT_RECIPE, RECIPES, assemble, find_recipe
from model_export.factors import FACTORS_FILE
from model_export.released_checkpoint import write_released_checkpoint
from training.checkpoint import read_manifest

QUERIES = [
    TextInput("how to keep slugs off lettuce", InputType.QUERY, "no chemicals, pellets included"),
    TextInput("how to keep slugs off lettuce", InputType.QUERY),
]


@pytest.mark.slow
def test_it_encodes_as_the_bundle_of_the_release_does(tmp_path: Path) -> None:
    written = write_released_checkpoint(find_recipe(DEFAULT_RECIPE), tmp_path / "checkpoint")
    assert read_manifest(tmp_path / "checkpoint") == written
    manifest = assemble(find_recipe(DEFAULT_RECIPE), tmp_path / "bundle")
    assert (written.model.fusion, written.model.tower) == (manifest.fusion, manifest.tower)
    ours, theirs = open_checkpoint(tmp_path / "checkpoint").encoder, OnnxEncoder.open(tmp_path / "bundle")
    np.testing.assert_allclose(ours.encode_queries(QUERIES), theirs.encode_queries(QUERIES), atol=1e-4)


@pytest.mark.slow
def test_altered_factors_are_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    shutil.copytree(RECIPES / DEFAULT_RECIPE, recipe)
    factors = bytearray((recipe / FACTORS_FILE).read_bytes())
    # the last layer ends at keys and values: its other factors, at the end of the file, are read by nobody
    factors[len(factors) // 3 | 1] ^= 0x10
    (recipe / FACTORS_FILE).write_bytes(factors)
    with pytest.raises(AlteredArtefactError):
        write_released_checkpoint(recipe, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_a_base_model_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="untrained base model; leave start_from away"):
        write_released_checkpoint(find_recipe(BASE_RECIPE), tmp_path / "checkpoint")
