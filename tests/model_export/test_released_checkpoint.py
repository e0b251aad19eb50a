"""A released model as a checkpoint: the same vectors in torch, and only from intact files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation.encoders import open_checkpoint
from infembed.encoder import OnnxEncoder
from infembed.errors import AlteredArtefactError, BadArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import InputType, TextInput
from model_export.assemble import BASE_RECIPE, DEFAULT_RECIPE, RECIPES, assemble, find_recipe
from model_export.cli import write_checkpoint_of_release
from model_export.factors import FACTORS_FILE
from model_export.released_checkpoint import write_released_checkpoint
from training.average import average
from training.checkpoint import go_on_from, read_manifest
from training.encoder import TorchEncoder
from training.model import open_model

DOCUMENTS = ["Copper tape around the bed keeps slugs off.", "Pellets with ferric phosphate."]
QUERIES = [
    TextInput("how to keep slugs off lettuce", InputType.QUERY, "no chemicals, pellets included"),
    TextInput("how to keep slugs off lettuce", InputType.QUERY),
]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("released") / "checkpoint"
    write_released_checkpoint(find_recipe(DEFAULT_RECIPE), out)
    return out


@pytest.mark.slow
def test_it_encodes_as_the_bundle_of_the_release_does(released: Path, tmp_path: Path) -> None:
    manifest = assemble(find_recipe(DEFAULT_RECIPE), tmp_path / "bundle")
    model = read_manifest(released).model
    assert (model.fusion, model.tower) == (manifest.fusion, manifest.tower)
    ours, theirs = open_checkpoint(released).encoder, OnnxEncoder.open(tmp_path / "bundle")
    np.testing.assert_allclose(ours.encode_queries(QUERIES), theirs.encode_queries(QUERIES), atol=1e-4)
    np.testing.assert_allclose(ours.encode_documents(DOCUMENTS), theirs.encode_documents(DOCUMENTS), atol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_from_it_and_a_mean_is_taken_with_it(released: Path, tmp_path: Path) -> None:
    model = open_model(read_manifest(released).model)
    go_on_from(model, released)
    vectors = TorchEncoder(model.eval()).encode_queries(QUERIES)
    np.testing.assert_allclose(vectors, open_checkpoint(released).encoder.encode_queries(QUERIES), atol=1e-6)
    shutil.copytree(released, tmp_path / "again")
    average([released, tmp_path / "again"], tmp_path / "mean", name="mean", rank=64)
    mean = open_checkpoint(tmp_path / "mean").encoder.encode_queries(QUERIES)
    np.testing.assert_allclose(vectors, mean, atol=2e-3)  # the mean's factors are other halves


def test_the_command_prints_what_a_run_must_ask_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint_of_release(tmp_path / "checkpoint")
    lora = read_manifest(tmp_path / "checkpoint").model.lora
    assert lora is not None
    assert f"rank {lora.rank}, alpha {lora.alpha:g}" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(BadArtefactError, match="exists already"):
        write_checkpoint_of_release(tmp_path / "checkpoint")


def test_altered_or_missing_factors_are_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    shutil.copytree(RECIPES / DEFAULT_RECIPE, recipe)
    factors = bytearray((recipe / FACTORS_FILE).read_bytes())
    factors[-1] ^= 0x10  # of a matrix of the last layer that no instruction reads
    (recipe / FACTORS_FILE).write_bytes(factors)
    with pytest.raises(AlteredArtefactError, match="the recipe pins"):
        write_released_checkpoint(recipe, tmp_path / "checkpoint")
    (recipe / FACTORS_FILE).unlink()
    with pytest.raises(MissingArtefactError, match="no factors.safetensors"):
        write_released_checkpoint(recipe, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_a_base_model_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="untrained base model; leave start_from away"):
        write_released_checkpoint(find_recipe(BASE_RECIPE), tmp_path / "checkpoint")
