"""Every family of encoders: the exported bundle equals the model in PyTorch, and its graphs are fused."""

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from transformers import AutoModel

from infembed.bundle import Bundle, GraphName, Precision
from infembed.inputs import Fusion
from infembed.onnx_runtime import ort
from infembed.weightfile import read_layout
from model_export.export import export
from model_export.parity import LEAST_COSINE, MAX_ABS, MAX_VARIANCE
from tests.families import N_LAYERS
from tests.model_export.family_checkpoints import FAMILIES, make_family_checkpoint

FUSED = {
    "bert": {"EmbedLayerNormalization": 1, "SkipLayerNormalization": 6, "BiasGelu": 3},
    "modernbert": {"RotaryEmbedding": 6, "SkipLayerNormalization": 6, "Gelu": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list(Fusion))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundle_equals_its_checkpoint(tmp_path: Path, family: str, fusion: Fusion) -> None:
    checkpoint = make_family_checkpoint(family, tmp_path / family)
    exported = export(checkpoint, tmp_path / "bundle", fusion=fusion)
    (found,) = exported.parity.precisions
    assert found.against_pytorch.max_abs < MAX_ABS / 10
    assert found.in_batches.max_abs < MAX_VARIANCE
    assert found.with_left_pads is not None
    assert found.with_left_pads.max_abs < MAX_VARIANCE
    if fusion is not Fusion.CONCAT:
        assert found.with_cached_states is not None
        assert found.with_cached_states.max_abs < MAX_VARIANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_query_graph_attends_to_the_instruction_in_every_layer(tmp_path: Path, family: str) -> None:
    checkpoint = make_family_checkpoint(family, tmp_path / family)
    export(checkpoint, tmp_path / "bundle")
    manifest = Bundle.open(tmp_path / "bundle").manifest
    fused = FUSED["modernbert" if family == "modernbert" else "bert"]
    assert manifest.fused_nodes["fp32/query.onnx"] == {"MultiHeadAttention with past": 3, **fused}
    assert manifest.opset == 17
    assert manifest.min_onnxruntime == ("1.20" if family == "modernbert" else "1.18")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_documents_equal_the_models_own_forward(tmp_path: Path, family: str) -> None:
    """Without our reading of the families in between: transformers' forward on ids, pads on the right."""
    checkpoint = make_family_checkpoint(family, tmp_path / family)
    export(checkpoint, tmp_path / "bundle")
    session = ort.InferenceSession(
        str(Bundle.open(tmp_path / "bundle").graph_path(GraphName.DOCUMENT, Precision.FP32)),
        providers=["CPUExecutionProvider"],
    )
    model = AutoModel.from_pretrained(checkpoint).eval()
    ids = torch.randint(5, 129, (1, 60), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)
    (found,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": torch.ones_like(ids).numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, atol=5e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list(Fusion))
@pytest.mark.parametrize("family", FAMILIES)
def test_other_precisions_stay_close_and_do_not_depend_on_the_batch(
    tmp_path: Path, family: str, fusion: Fusion
) -> None:
    """Matrices of 16 columns are rounded more coarsely than real ones: the bound of int8 is that of this size."""
    checkpoint = make_family_checkpoint(family, tmp_path / family)
    exported = export(checkpoint, tmp_path / "bundle", precisions=list(Precision), fusion=fusion)
    found = {each.precision: each for each in exported.parity.precisions}
    assert found[Precision.FP16].against_pytorch.least_cosine >= LEAST_COSINE[Precision.FP16]
    assert found[Precision.INT8].against_pytorch.least_cosine >= 0.98
    assert found[Precision.INT8].in_batches.max_abs < MAX_VARIANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_int8_multiplies_and_looks_up_integers_in_every_family(tmp_path: Path, family: str) -> None:
    checkpoint = make_family_checkpoint(family, tmp_path / family)
    export(checkpoint, tmp_path / "bundle", precisions=[Precision.INT8])
    folder = tmp_path / "bundle" / Precision.INT8
    for name, n_whole in (("document", N_LAYERS), ("query", N_LAYERS), ("instruction", N_LAYERS - 1)):
        model = onnx.load(folder / f"{name}.onnx", load_external_data=False)
        kinds = Counter(node.op_type for node in model.graph.node)
        assert kinds["MatMulIntegerToFloat"] == kinds["QuantizeLinear"] == N_LAYERS + 3 * n_whole
        assert kinds["MultiHeadAttention"] == N_LAYERS
        assert kinds["Attention"] == kinds["EmbedLayerNormalization"] == 0
        assert kinds["MatMul"] <= 1  # pooling; no matrix of the model
    stored = {tensor.name: tensor.dtype for tensor in read_layout(folder)}
    assert stored["embeddings.words"] == stored["layer.0.qkv.weight"] == "|i1"
    assert all(kind == "<f4" for tensor, kind in stored.items() if "norm" in tensor or "rotary" in tensor)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_fp16_keeps_the_operators_fused_in_every_family(tmp_path: Path, family: str) -> None:
    checkpoint = make_family_checkpoint(family, tmp_path / family)
    fused = export(checkpoint, tmp_path / "bundle", precisions=[Precision.FP16]).manifest.fused_nodes
    for name in ("document", "query", "instruction"):
        assert fused[f"fp16/{name}.onnx"] == fused[f"fp32/{name}.onnx"]
    assert {tensor.dtype for tensor in read_layout(tmp_path / "bundle" / Precision.FP16)} == {"<f2"}
