"""The parity check of an export really fails: any tensor, any precision, NaN; and what a failure says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import model_export.export
from infembed.bundle import BundleManifest, Precision, write_manifest
from infembed.errors import InfEmbedError, MismatchedArtefactError
from infembed.weightfile import StoredTensor, read_layout
from model_export.bundle_writer import Model, write_bundle
from model_export.export import export
from tests.tiny import make_checkpoint

Change = Callable[[np.ndarray], object]


def _refusal(checkpoint: Path, precisions: list[Precision]) -> InfEmbedError:
    out = checkpoint.parent / "bundle"
    with pytest.raises(InfEmbedError) as caught:
        export(checkpoint, out, precisions=precisions)
    assert sorted(path.name for path in out.parent.iterdir()) == [checkpoint.name]
    return caught.value


def _spoil(
    monkeypatch: pytest.MonkeyPatch, wanted: Callable[[StoredTensor], bool], change: Change, precision: Precision
) -> None:
    """Let exports write a tensor other than it should be; digests are those of what was written."""

    def write(directory: Path, model: Model, precisions: list[Precision]) -> BundleManifest:
        manifest = write_bundle(directory, model, precisions)
        folder = directory / precision
        tensor = next(tensor for tensor in read_layout(folder) if wanted(tensor))
        values = np.memmap(
            folder / tensor.file, dtype=tensor.dtype, mode="r+", offset=tensor.offset, shape=tensor.shape
        )
        change(values)
        values.flush()
        return write_manifest(directory, manifest)

    monkeypatch.setattr(model_export.export, "write_bundle", write)


def _larger(values: np.ndarray) -> None:
    values *= 1.02


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "embeddings.words",
        "embeddings.positions",
        "embeddings.norm.weight",
        "layer.0.qkv.weight",
        "layer.0.qkv.bias",
        "layer.1.attention_out.weight",
        "layer.1.inner.bias",
        "layer.1.outer_norm.bias",
    ],
)
def test_a_tensor_that_is_two_per_cent_off_writes_no_bundle_and_names_the_worst_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    checkpoint = make_checkpoint(tmp_path / "base")
    _spoil(monkeypatch, lambda tensor: tensor.name == name, _larger, Precision.FP32)
    refusal = _refusal(checkpoint, [Precision.FP32])
    assert isinstance(refusal, MismatchedArtefactError)
    assert "parity failed: fp32 differs from PyTorch by" in str(refusal)
    assert "on the text '" in str(refusal)


@pytest.mark.slow
def test_the_last_position_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are as long as the model allows, so no row of the position table goes unread."""
    checkpoint = make_checkpoint(tmp_path / "base")

    def last_row(values: np.ndarray) -> None:
        values[-1, 0] += 1

    _spoil(monkeypatch, lambda tensor: tensor.name == "embeddings.positions", last_row, Precision.FP32)
    assert "(64 tokens)" in str(_refusal(checkpoint, [Precision.FP32]))


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_a_conversion_that_went_wrong_writes_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    checkpoint = make_checkpoint(tmp_path / "base")

    def shuffled(values: np.ndarray) -> None:
        values[:] = values[::-1].copy()

    _spoil(monkeypatch, lambda tensor: tensor.name == "embeddings.words", shuffled, precision)
    assert f"parity failed: {precision} has cosine" in str(_refusal(checkpoint, [Precision.FP32, precision]))


@pytest.mark.slow
def test_nan_in_one_precision_is_named_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_checkpoint(tmp_path / "base")
    _spoil(monkeypatch, lambda tensor: tensor.name == "layer.1.outer.bias", lambda v: v.fill(np.nan), Precision.INT8)
    refusal = _refusal(checkpoint, [Precision.FP32, Precision.INT8])
    assert "parity failed: int8 gives NaN or infinity on the text '" in str(refusal)


@pytest.mark.parametrize(
    ("name", "factor", "precisions", "words"),
    [
        ("encoder.layer.0.output.dense.weight", np.nan, [Precision.FP32], "the checkpoint itself gives NaN"),
        (
            "encoder.layer.0.output.dense.weight",
            1e6,
            [Precision.FP32, Precision.FP16],
            r"tensor 'layer.0.outer.weight' has values up to .*, more than float16 holds; export the model without",
        ),
    ],
    ids=["nan", "beyond float16"],
)
def test_weights_that_no_bundle_can_hold_are_refused(
    tmp_path: Path, name: str, factor: float, precisions: list[Precision], words: str
) -> None:
    checkpoint = make_checkpoint(tmp_path / "base")
    tensors = load_file(checkpoint / "model.safetensors")
    tensors[name] *= np.float32(factor)
    save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(MismatchedArtefactError, match=words):
        export(checkpoint, tmp_path / "bundle", precisions=precisions)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_names_of_directories_become_names_of_bundles_that_can_be_printed(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / ("a\n\x1b[31m" + 200 * "b"))
    name = export(checkpoint, tmp_path / "bundle").manifest.name
    assert name == "a__[31m" + 143 * "b" + "-prefix"
