"""Our BERT graphs against the usual way: torch's exporter, then ONNX Runtime's transformer optimizer."""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel

from infembed.bundle import Bundle, GraphName, Precision
from infembed.inputs import Fusion
from infembed.onnx_runtime import ort
from model_export.export import export
from model_export.graph_checks import count_fused
from tests.model_export.family_checkpoints import make_family_checkpoint


class _States(nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=torch.zeros_like(input_ids)
        ).last_hidden_state
        return states


def _traced_and_optimized(checkpoint: Path, directory: Path) -> onnx.ModelProto:
    from onnxruntime.transformers.optimizer import optimize_model

    encoder = AutoModel.from_pretrained(checkpoint, attn_implementation="eager", add_pooling_layer=False).eval()
    ids = torch.randint(5, 129, (2, 9))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            _States(encoder),
            (ids, torch.ones_like(ids)),
            str(directory / "traced.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["states"],
            dynamic_axes={name: {0: "B", 1: "T"} for name in ("input_ids", "attention_mask", "states")},
            opset_version=17,
            dynamo=False,
        )
        config = encoder.config
        optimized = optimize_model(
            str(directory / "traced.onnx"), "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size
        )
    model: onnx.ModelProto = optimized.model
    return model


@pytest.mark.slow
def test_the_document_graph_is_what_the_exporter_and_the_optimizer_make(tmp_path: Path) -> None:
    checkpoint = make_family_checkpoint("bert", tmp_path / "bert")
    traced = _traced_and_optimized(checkpoint, tmp_path)
    export(checkpoint, tmp_path / "bundle", fusion=Fusion.CONCAT)
    path = Bundle.open(tmp_path / "bundle").graph_path(GraphName.DOCUMENT, Precision.FP32)
    ours = count_fused(onnx.load(path, load_external_data=False))
    assert ours == Counter({name: count for name, count in count_fused(traced).items() if name in ours})
    ids = np.random.default_rng(0).integers(5, 129, (3, 11))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    theirs = ort.InferenceSession(traced.SerializeToString(), providers=["CPUExecutionProvider"])
    (states,) = theirs.run(["states"], feeds)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, feeds)
    np.testing.assert_allclose(found, states.mean(1), atol=2e-6)
