"""A trained query tower in a recipe: merged without torch, the same bits everywhere, and equal to what was trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file, save_file

from infembed.bundle import Bundle, GraphName, Tower
from infembed.encoder import OnnxEncoder
from infembed.errors import AlteredArtefactError, BadConfigError, MismatchedArtefactError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.vectors import FloatArray, normalize
from model_export.assemble import assemble
from model_export.factors import FACTORS_FILE, merge, read_factors, write_factors
from tests.tiny import CONFIG, Trained, make_bundle, make_checkpoint, make_recipe, make_tiny_bundle

QUERY = TextInput("how to bake bread", InputType.QUERY, "only for the beginner")
PLAIN = TextInput("how to bake bread", InputType.QUERY)
DOCUMENT = TextInput("bread and flour in the oven")
RANK = 4


def random_factors(*, seed: int = 3) -> dict[str, FloatArray]:
    dim, inner = int(str(CONFIG["hidden_size"])), int(str(CONFIG["intermediate_size"]))
    matrices = {
        "attention.self.query": (dim, dim),
        "attention.self.value": (dim, dim),
        "attention.output.dense": (dim, dim),
        "intermediate.dense": (inner, dim),
        "output.dense": (dim, inner),
    }
    rng = np.random.default_rng(seed)
    found: dict[str, FloatArray] = {}
    for layer in range(int(str(CONFIG["num_hidden_layers"]))):
        for name, (n_out, n_in) in matrices.items():
            place = f"encoder.layer.{layer}.{name}"
            found[f"{place}.lora_A.weight"] = rng.normal(0, 0.3, (RANK, n_in)).astype(np.float32)
            found[f"{place}.lora_B.weight"] = rng.normal(0, 0.3, (n_out, RANK)).astype(np.float32)
    return found


def make_trained(directory: Path, *, fusion: Fusion = Fusion.PREFIX, tower: Tower = Tower.FROZEN) -> Path:
    checkpoint = make_checkpoint(directory / "checkpoint")
    trained = Trained(random_factors(), scale=2.0, tower=tower)
    bundle = make_bundle(checkpoint, directory, fusion=fusion, trained=trained)
    make_recipe(checkpoint, directory, bundle, trained=trained)
    return bundle


def merged_checkpoint(trained: Path, directory: Path) -> Path:
    """The tiny checkpoint with the recipe's factors added up, as if all of it had been trained."""
    checkpoint = make_checkpoint(directory)
    base = load_file(checkpoint / "model.safetensors")
    save_file(
        merge(base, read_factors(trained.parent / "recipe" / FACTORS_FILE), scale=2.0), checkpoint / "model.safetensors"
    )
    return checkpoint


@pytest.mark.parametrize("fusion", list(Fusion))
def test_queries_use_the_trained_tower_and_documents_the_base(tmp_path: Path, fusion: Fusion) -> None:
    bundle = make_trained(tmp_path / "trained", fusion=fusion)
    base = OnnxEncoder.open(make_tiny_bundle(tmp_path / "base", fusion=fusion))
    whole = make_bundle(merged_checkpoint(bundle, tmp_path / "merged"), tmp_path / "whole", fusion=fusion)
    found, wanted = OnnxEncoder.open(bundle), OnnxEncoder.open(whole)
    for query in (QUERY, PLAIN):
        np.testing.assert_allclose(found.encode_queries([query]), wanted.encode_queries([query]), atol=2e-6)
        assert np.abs(found.encode_queries([query]) - base.encode_queries([query])).max() > 1e-2
    np.testing.assert_array_equal(found.encode_documents([DOCUMENT.text]), base.encode_documents([DOCUMENT.text]))


def test_where_instructions_are_steered_all_else_is_the_base_models(tmp_path: Path) -> None:
    """Against the two halves: instructions read by the merged model, queries by the base model."""
    bundle = make_trained(tmp_path / "trained", tower=Tower.STEERED)
    merged = make_bundle(merged_checkpoint(bundle, tmp_path / "merged"), tmp_path / "whole", fusion=Fusion.PREFIX)
    found, base, whole = OnnxEncoder.open(bundle), OnnxEncoder.open(make_tiny_bundle(tmp_path / "base")), merged
    np.testing.assert_array_equal(found.encode_queries([PLAIN]), base.encode_queries([PLAIN]))
    np.testing.assert_array_equal(found.encode_documents([DOCUMENT.text]), base.encode_documents([DOCUMENT.text]))
    tokens = found.tokenizer.tokenize([QUERY])[0]
    read = {"input_ids": [tokens.instruction_ids], "attention_mask": [[1] * len(tokens.instruction_ids)]}
    asked = {"input_ids": [tokens.ids], "attention_mask": [[1] * len(tokens.ids)]}
    (state,) = _run(whole, GraphName.INSTRUCTION, read)
    by_hand = {"instruction_state": state, "instruction_mask": read["attention_mask"], "instruction_index": [0]}
    (wanted,) = _run(base.bundle.path, GraphName.QUERY, asked | by_hand)
    np.testing.assert_allclose(found.encode_queries([QUERY]), normalize(wanted), atol=2e-6)
    assert np.abs(found.encode_queries([QUERY]) - base.encode_queries([QUERY])).max() > 1e-2


def _run(bundle: Path, graph: GraphName, feeds: dict[str, Any]) -> list[FloatArray]:
    session = ort.InferenceSession(str(bundle / "fp32" / f"{graph}.onnx"), providers=["CPUExecutionProvider"])
    found: list[FloatArray] = session.run(None, {name: np.asarray(value) for name, value in feeds.items()})
    return found


@pytest.mark.parametrize("tower", [Tower.FROZEN, Tower.STEERED])
def test_assembly_without_torch_gives_the_bundle_that_was_exported(tmp_path: Path, tower: Tower) -> None:
    exported = Bundle.open(make_trained(tmp_path, tower=tower))
    assemble(tmp_path / "recipe", tmp_path / "again", weights=tmp_path / "checkpoint")
    assert Bundle.open(tmp_path / "again").digest == exported.digest


@pytest.mark.parametrize("tower", [Tower.FROZEN, Tower.STEERED])
def test_an_index_of_the_base_model_stays_valid(tmp_path: Path, tower: Tower) -> None:
    trained = Bundle.open(make_trained(tmp_path / "trained", tower=tower)).manifest
    base = Bundle.open(make_tiny_bundle(tmp_path / "base")).manifest
    assert trained.tower is tower
    assert trained.document_fingerprint == base.document_fingerprint


MATRICES = ("attention_out.weight", "inner.weight", "outer.weight", "qkv.weight")


def test_only_matrices_with_factors_are_stored_twice(tmp_path: Path) -> None:
    own = _own_tensors(make_trained(tmp_path))
    assert own == {f"query.layer.{layer}.{name}" for layer in (0, 1) for name in MATRICES}


def test_where_instructions_are_steered_the_last_layer_stops_at_keys_and_values(tmp_path: Path) -> None:
    own = _own_tensors(make_trained(tmp_path, tower=Tower.STEERED))
    assert own == {*(f"query.layer.0.{name}" for name in MATRICES), "query.layer.1.qkv.weight"}


def _own_tensors(bundle: Path) -> set[str]:
    layout = json.loads((bundle / "fp32" / "weights.json").read_text())
    return {tensor["name"] for tensor in layout if tensor["file"] == "query.bin"}


def test_sums_of_half_precision_products_do_not_depend_on_their_order(tmp_path: Path) -> None:
    """What makes the digest of the merged weights the same on every machine."""
    factors = {name: array * 50 for name, array in random_factors().items()}
    write_factors(tmp_path / FACTORS_FILE, factors)
    halves = load_file(tmp_path / FACTORS_FILE)
    down = halves["encoder.layer.0.intermediate.dense.lora_A.weight"].astype(np.float64)
    up = halves["encoder.layer.0.intermediate.dense.lora_B.weight"].astype(np.float64)
    order = np.random.default_rng(0).permutation(RANK)
    one_by_one = np.zeros((len(up), down.shape[1]))
    for place in order:
        one_by_one += np.outer(up[:, place], down[place])
    np.testing.assert_array_equal(up @ down, one_by_one)


def test_altered_factors_are_refused(tmp_path: Path) -> None:
    make_trained(tmp_path)
    file = tmp_path / "recipe" / FACTORS_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(AlteredArtefactError):
        assemble(tmp_path / "recipe", tmp_path / "again", weights=tmp_path / "checkpoint")
    assert not (tmp_path / "again").exists()


def test_a_trained_tower_is_served_with_the_fusion_it_was_trained_for(tmp_path: Path) -> None:
    make_trained(tmp_path, fusion=Fusion.PREFIX)
    with pytest.raises(BadConfigError, match="was made for fusion prefix, not concat"):
        assemble(tmp_path / "recipe", tmp_path / "again", fusion=Fusion.CONCAT, weights=tmp_path / "checkpoint")


def test_factors_of_another_model_are_refused(tmp_path: Path) -> None:
    base = load_file(make_checkpoint(tmp_path) / "model.safetensors")
    strange = {"encoder.layer.9.output.dense.lora_A.weight": np.zeros((4, 64), np.float32)}
    strange["encoder.layer.9.output.dense.lora_B.weight"] = np.zeros((32, 4), np.float32)
    with pytest.raises(MismatchedArtefactError, match=r"encoder\.layer\.9\.output\.dense\.weight"):
        merge(base, strange, scale=1.0)
