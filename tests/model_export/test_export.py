"""`infembed export`: from a checkpoint to the bundle that is served, the same vectors or a refusal and nothing left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infembed.bundle import Bundle, Precision, Tower
from infembed.encoder import OnnxEncoder
from infembed.errors import (
    BadArtefactError,
    BadConfigError,
    InfEmbedError,
    MismatchedArtefactError,
    MissingArtefactError,
)
from infembed.inputs import Fusion
from model_export.assemble import assemble
from model_export.export import export
from model_export.export_summary import as_facts, as_text
from model_export.factors import FACTORS_FILE, read_factors
from model_export.parity import PARITY_FILE, ParityReport
from model_export.recipe import write_recipe
from tests.command_line import Command
from tests.tiny import base_weights, make_checkpoint
from tests.training.test_checkpoint import QUERIES, changed_model, save
from training.checkpoint import save_checkpoint
from training.config import LoraConfig
from training.encoder import TorchEncoder
from training.lora import round_factors
from training.model import InfEmbed, query_inputs

LORA = LoraConfig(rank=4, alpha=8)


def make_model(directory: Path, **changes: Any) -> InfEmbed:
    """Make a model as a finished run has it: trained, with factors of half precision."""
    model = changed_model(directory, **changes)
    if model.config.lora is not None:
        round_factors(model.query_tower)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        *({"tower": tower, "lora": LORA, "fusion": Fusion.PREFIX} for tower in Tower),
        *(
            {"tower": tower, "lora": None, "fusion": fusion}
            for tower in (Tower.SHARED, Tower.FROZEN)
            for fusion in Fusion
        ),
        *({"tower": Tower.FROZEN, "lora": LORA, "fusion": fusion} for fusion in (Fusion.ATTENTION, Fusion.CONCAT)),
        *({"tower": tower, "lora": LORA, "pools_instruction": True} for tower in (Tower.FROZEN, Tower.STEERED)),
        {"tower": Tower.SHARED, "lora": None, "pools_instruction": True},
        {"tower": Tower.FROZEN, "lora": LORA, "prompts": {"query": "ask: ", "document": "read: "}, "pooling": "cls"},
    ],
    ids=str,
)
def test_the_bundle_gives_the_checkpoints_vectors(tmp_path: Path, changes: dict[str, object]) -> None:
    model = make_model(tmp_path, **changes)
    export(save(model, tmp_path / "model"), tmp_path / "bundle")
    trained, served = TorchEncoder(model), OnnxEncoder.open(tmp_path / "bundle")
    queries = query_inputs(QUERIES)
    np.testing.assert_allclose(served.encode_queries(queries), trained.encode_queries(queries), atol=3e-6)
    np.testing.assert_allclose(served.encode_documents(["bread"]), trained.encode_documents(["bread"]), atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("tower", list(Tower))
def test_assembly_without_torch_gives_the_exported_bundle(tmp_path: Path, tower: Tower) -> None:
    model = make_model(tmp_path, lora=LORA, tower=tower)
    base, checkpoint = Path(model.config.base), save(model, tmp_path / "model")
    export(checkpoint, tmp_path / "bundle")
    exported = Bundle.open(tmp_path / "bundle")
    write_recipe(
        tmp_path / "recipe",
        [exported],
        base=base_weights(base),
        weights=base,
        factors=read_factors(checkpoint / FACTORS_FILE),
    )
    assemble(tmp_path / "recipe", tmp_path / "again", weights=base)
    assert Bundle.open(tmp_path / "again").digest == exported.digest


@pytest.mark.slow
def test_widths_travel_from_the_checkpoint_to_the_assembled_bundle(tmp_path: Path) -> None:
    model = make_model(tmp_path, lora=LORA)
    base, checkpoint = Path(model.config.base), tmp_path / "model"
    save_checkpoint(model, checkpoint, name="toy", made_from={}, dimensions=(8, 32, 16))
    exported = export(checkpoint, tmp_path / "bundle", precisions=[Precision.FP32, Precision.INT8])
    assert exported.manifest.widths == (32, 16, 8)
    assert as_facts(exported, tmp_path)["dimensions"] == [32, 16, 8]
    assert "  vectors may be cut to 16, 8, as they were trained to be" in as_text(exported, tmp_path)
    factors = read_factors(checkpoint / FACTORS_FILE)
    bundle = Bundle.open(tmp_path / "bundle")
    write_recipe(tmp_path / "recipe", [bundle], base=base_weights(base), weights=base, factors=factors)
    again = assemble(tmp_path / "recipe", tmp_path / "again", weights=base, precisions=[Precision.FP32])
    assert again.widths == (32, 16, 8)


@pytest.mark.slow
def test_a_frozen_tower_keeps_the_index_of_its_base_model(tmp_path: Path) -> None:
    model = make_model(tmp_path, lora=LORA, tower=Tower.FROZEN)
    export(save(model, tmp_path / "model"), tmp_path / "trained")
    again = export(Path(model.config.base), tmp_path / "plain", max_tokens=32).manifest
    assert again.max_tokens.document == model.config.max_tokens.document
    assert Bundle.open(tmp_path / "trained").manifest.document_fingerprint == again.document_fingerprint


@pytest.mark.slow
def test_the_parity_report_lies_in_the_bundle(tmp_path: Path) -> None:
    export(make_checkpoint(tmp_path / "base"), tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    report = ParityReport.model_validate_json((bundle.path / PARITY_FILE).read_bytes())
    assert PARITY_FILE in {entry.name for entry in bundle.manifest.files}
    assert [found.precision for found in report.precisions] == [Precision.FP32]
    assert str(tmp_path) not in (bundle.path / "manifest.json").read_text()


@pytest.mark.slow
def test_factors_below_full_scale_are_averaged_with_the_base(tmp_path: Path) -> None:
    model = make_model(tmp_path, lora=LORA)
    checkpoint = save(model, tmp_path / "model")
    found = {
        scale: OnnxEncoder.open(_exported(checkpoint, tmp_path / str(scale), scale=scale)).encode_queries(
            query_inputs(QUERIES)
        )
        for scale in (0.01, 0.5, 1.0)
    }
    untouched = TorchEncoder(model).encode_documents(["how about bread"])
    far, half, near = (float(np.abs(found[scale][1] - untouched).max()) for scale in (1.0, 0.5, 0.01))
    assert near < half < far


def _exported(checkpoint: Path, out: Path, **options: float) -> Path:
    export(checkpoint, out, scale=options["scale"])
    return out


def test_a_model_that_differs_from_its_bundle_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_checkpoint(tmp_path / "base")
    whole = TorchEncoder.encode_documents

    def shifted(self: TorchEncoder, texts: list[str]) -> object:
        found = whole(self, texts)
        found[3] += 0.01
        return found

    monkeypatch.setattr(TorchEncoder, "encode_documents", shifted)
    with pytest.raises(MismatchedArtefactError, match=r"parity failed: fp32 differs from PyTorch by 0.01.*把种子"):
        export(checkpoint, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def _refused(tmp_path: Path, checkpoint: Path, **options: object) -> InfEmbedError:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InfEmbedError) as caught:
        export(checkpoint, tmp_path / "bundle", **options)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_cannot_be_exported_is_refused_in_one_sentence(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base")
    assert isinstance(_refused(tmp_path, tmp_path / "none"), MissingArtefactError)
    twice = _refused(tmp_path, base, precisions=[Precision.FP32, Precision.FP32])
    assert "precision names one twice: fp32, fp32" in str(twice)
    assert "no trained factors to scale" in str(_refused(tmp_path, base, scale=0.5))
    (tmp_path / "bundle").mkdir()
    with pytest.raises(BadArtefactError, match="exists already"):
        export(base, tmp_path / "bundle")


def test_a_base_model_of_another_digest_is_refused(tmp_path: Path) -> None:
    checkpoint = save(make_model(tmp_path), tmp_path / "model")
    make_checkpoint(tmp_path / "base", seed=1)
    assert "was trained on a base model with digest" in str(_refused(tmp_path, checkpoint))


def test_a_trained_checkpoint_keeps_the_fusion_it_was_trained_with(tmp_path: Path) -> None:
    checkpoint = save(make_model(tmp_path), tmp_path / "model")
    error = _refused(tmp_path, checkpoint, fusion=Fusion.CONCAT)
    assert isinstance(error, BadConfigError)
    assert "was trained for fusion prefix, not concat" in str(error)


@pytest.mark.slow
def test_the_command_ends_with_what_it_made(tmp_path: Path, run: Command) -> None:
    base = make_checkpoint(tmp_path / "base")
    done = run("export", base, "--out", tmp_path / "bundle", "--precision", "int8", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["fused_nodes"]["fp32/query.onnx"]["MultiHeadAttention with past"] == 2
    assert [found["precision"] for found in facts["parity"]["precisions"]] == ["fp32", "int8"]
    again = run("export", base, "--out", tmp_path / "bundle")
    assert again.code == 3
    assert "exists already" in again.err


@pytest.mark.slow
def test_the_command_tells_people_how_far_vectors_differ(tmp_path: Path, run: Command) -> None:
    done = run("export", make_checkpoint(tmp_path / "base"), "--out", tmp_path / "bundle")
    assert done.code == 0, done.err
    assert "parity with PyTorch on" in done.out
    assert "fp32/query.onnx: 2 BiasGelu, 1 EmbedLayerNormalization, 2 MultiHeadAttention with past" in done.out


@pytest.mark.slow
def test_factors_of_an_older_run_are_rounded_and_the_report_says_how_far_that_moves_vectors(tmp_path: Path) -> None:
    checkpoint = save(changed_model(tmp_path, lora=LORA), tmp_path / "model")
    rounding = export(checkpoint, tmp_path / "old").parity.rounding
    assert rounding is not None
    assert 0 < rounding.max_abs < 1e-2
    finished = save(make_model(tmp_path, lora=LORA), tmp_path / "finished")
    assert export(finished, tmp_path / "new").parity.rounding is None
