from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from infembed.bundle import Precision
from infembed.onnx_runtime import ort
from infembed.weightfile import StoredTensor, read_layout
from model_export.int8_graphs import choose_scales
from model_export.rounding import Scaled

N_LAYERS = 2
MATRICES_OF_A_LAYER = 4


def _graph(bundle: Path, name: str) -> onnx.ModelProto:
    return onnx.load(bundle / Precision.INT8 / f"{name}.onnx", load_external_data=False)


def _kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_every_matrix_is_multiplied_as_integers(any_precise_bundle: Path) -> None:
    for name in ("document", "query"):
        kinds = _kinds(_graph(any_precise_bundle, name))
        assert kinds["MatMulIntegerToFloat"] == kinds["QuantizeLinear"] == N_LAYERS * MATRICES_OF_A_LAYER
        assert kinds["MultiHeadAttention"] >= N_LAYERS
        assert kinds["Attention"] == 0
        assert kinds["MatMul"] <= 2  # pooling; no matrix of the model


def test_what_is_slow_on_the_cpu_is_taken_apart(any_precise_bundle: Path) -> None:
    kinds = _kinds(_graph(any_precise_bundle, "document"))
    assert kinds["SkipLayerNormalization"] == kinds["EmbedLayerNormalization"] == 0
    assert kinds["LayerNormalization"] == 2 * N_LAYERS + 1


def test_no_operator_scales_a_whole_batch(any_precise_bundle: Path) -> None:
    for path in (any_precise_bundle / Precision.INT8).glob("*.onnx"):
        kinds = _kinds(_graph(any_precise_bundle, path.stem))
        assert not kinds.keys() & {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "QAttention"}


def test_graphs_read_one_weight_file_and_hold_no_weights(any_precise_bundle: Path) -> None:
    stored = {tensor.name: tensor for tensor in read_layout(any_precise_bundle / Precision.INT8)}
    for path in (any_precise_bundle / Precision.INT8).glob("*.onnx"):
        for tensor in _graph(any_precise_bundle, path.stem).graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                place = {entry.key: entry.value for entry in tensor.external_data}
                assert place["offset"] == str(stored[tensor.name].offset)
                assert tuple(tensor.dims) == stored[tensor.name].shape
            else:
                assert len(tensor.raw_data) < 100


def _model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(list(nodes), "graph", [], []))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": Scaled.COLUMNS}),
        ([helper.make_node("MatMul", ["w", "x"], ["y"])], {}),
        ([helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Gather", ["w", "i"], ["z"])], {}),
        ([helper.make_node("EmbedLayerNormalization", ["i", "", "w", "p"], ["y"])], {"w": Scaled.ROWS}),
        ([helper.make_node("MatMul", ["x", "bias"], ["y"])], {}),
    ],
    ids=["matrix", "left-hand", "two-uses", "words", "vector"],
)
def test_only_what_is_multiplied_by_or_looked_up_is_rounded(
    nodes: list[onnx.NodeProto], expected: dict[str, Scaled]
) -> None:
    layout = [StoredTensor(name="w", shape=(3, 4), offset=0), StoredTensor(name="bias", shape=(4,), offset=64)]
    assert choose_scales([_model(*nodes)], {tensor.name: tensor for tensor in layout}) == expected


def test_a_layer_norm_taken_apart_equals_the_fused_one() -> None:
    """The premise of the rewrite, on its own."""
    rng = np.random.default_rng(0)
    x, residual, gain, shift, bias = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((5, 8), (5, 8), 8, 8, 8))
    names = ["x", "residual", "gain", "shift", "bias"]
    fused = [helper.make_node("SkipLayerNormalization", names, ["y"], domain="com.microsoft", epsilon=1e-12)]
    apart = [
        helper.make_node("Add", ["x", "bias"], ["a"]),
        helper.make_node("Add", ["a", "residual"], ["b"]),
        helper.make_node("LayerNormalization", ["b", "gain", "shift"], ["y"], epsilon=1e-12),
    ]
    feeds = dict(zip(names, (x, residual, gain, shift, bias), strict=True))
    one, other = (_run(nodes, feeds) for nodes in (fused, apart))
    np.testing.assert_allclose(one, other, atol=1e-5)


def _run(nodes: list[onnx.NodeProto], feeds: dict[str, np.ndarray]) -> np.ndarray:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in feeds.items()]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, feeds)
    assert isinstance(result, np.ndarray)
    return result
