"""Every family of encoders: the exported bundle equals the model in PyTorch, and its graphs are fused."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from infembed.bundle import Bundle, GraphName, Precision
from infembed.inputs import Fusion
from infembed.onnx_runtime import ort
from model_export.export import export
from model_export.parity import MAX_ABS, MAX_VARIANCE
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
