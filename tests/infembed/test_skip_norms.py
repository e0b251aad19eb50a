from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from infembed.bundle import Bundle, GraphName, Precision
from infembed.encoder import OnnxEncoder
from infembed.inputs import InputType, TextInput
from infembed.onnx_runtime import ort
from infembed.skip_norms import take_apart
from infembed.vectors import FloatArray
from model_export.bare_graphs import BareGraphs

NAMES = ("new", "residual", "gain", "shift", "bias")
SHAPES = {"new": (2, 5, 8), "residual": (2, 5, 8), "gain": (8,), "shift": (8,), "bias": (8,)}


def _model(inputs: list[str], outputs: list[str]) -> bytes:
    """One node whose inputs are those of the graph; "" leaves one out."""
    node = helper.make_node("SkipLayerNormalization", inputs, outputs, domain="com.microsoft", epsilon=0.01)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPES[name]) for name in inputs if name]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name]
    graph = helper.make_graph([node], "g", values, results)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    written: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return written


def _run(model: bytes, feeds: dict[str, FloatArray]) -> list[FloatArray]:
    session = ort.InferenceSession(
        model, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )
    return [np.asarray(value) for value in session.run(None, feeds)]


@pytest.mark.parametrize("inputs", [NAMES, NAMES[:4], NAMES[:3], ("new", "residual", "gain", "", "bias")], ids=str)
@pytest.mark.parametrize("outputs", [("y",), ("y", "", "", "sum")], ids=str)
def test_it_computes_what_the_fused_operator_does(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(0, 1, SHAPES[name]).astype(np.float32) for name in inputs if name}
    fused = _model([*inputs], [*outputs])
    apart = take_apart(fused)
    assert "SkipLayerNormalization" not in {node.op_type for node in onnx.load_from_string(apart).graph.node}
    for found, wanted in zip(_run(apart, feeds), _run(fused, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_the_rest_of_a_graph_stays_as_it_was(any_tiny_bundle: Path) -> None:
    path = Bundle.open(any_tiny_bundle).graph_path(GraphName.QUERY, Precision.FP32)
    before, after = onnx.load(path, load_external_data=False), onnx.load_from_string(take_apart(path.read_bytes()))
    kinds = [Counter(node.op_type for node in model.graph.node) for model in (before, after)]
    n = kinds[0].pop("SkipLayerNormalization")
    assert kinds[1] - kinds[0] == {"Add": 2 * n, "LayerNormalization": n}
    assert not kinds[0] - kinds[1]
    for field in ("input", "output", "initializer"):
        assert list(getattr(before.graph, field)) == list(getattr(after.graph, field))
    assert before.opset_import == after.opset_import


def test_a_model_without_the_operator_is_the_same_bytes() -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"], name="n")], "g", [], [])
    written = helper.make_model(graph, producer_name="p").SerializeToString()
    assert take_apart(written) == written


@pytest.mark.parametrize("precision", list(Precision))
def test_vectors_are_those_of_the_written_graphs(precise_bundle: Path, precision: Precision) -> None:
    bundle = Bundle.open(precise_bundle)
    encoder = OnnxEncoder(bundle, precision=precision, n_threads=1)
    texts = [TextInput("bread dough oven"), TextInput("how about bread", InputType.QUERY, "only for a child")]
    items = encoder.tokenizer.tokenize(texts)
    found = encoder.encode(items)
    wanted = BareGraphs(bundle, precision).encode_with_cached_states(items)
    np.testing.assert_allclose(found, wanted, atol=2e-6 if precision is not Precision.FP16 else 1e-2)
