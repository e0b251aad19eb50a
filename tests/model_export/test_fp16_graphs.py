from pathlib import Path

import onnx
from onnx import TensorProto

from infembed.bundle import Precision
from model_export.fp16_graphs import SAFE_EPSILON


def _graphs(bundle: Path) -> dict[str, onnx.GraphProto]:
    paths = (bundle / Precision.FP16).glob("*.onnx")
    return {path.stem: onnx.load(path, load_external_data=False).graph for path in paths}


def test_no_float32_is_left_inside(any_precise_bundle: Path) -> None:
    for graph in _graphs(any_precise_bundle).values():
        assert all(tensor.data_type != TensorProto.FLOAT for tensor in graph.initializer)
        casts = [a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
        assert casts.count(TensorProto.FLOAT) == sum(output.name == "embedding" for output in graph.output)


def test_ids_go_in_as_integers_and_embeddings_come_out_in_float32(any_precise_bundle: Path) -> None:
    for graph in _graphs(any_precise_bundle).values():
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        assert types["input_ids"] == types["attention_mask"] == TensorProto.INT64
        assert types.get("embedding", TensorProto.FLOAT) == TensorProto.FLOAT
        assert types.get("instruction_state", TensorProto.FLOAT16) == TensorProto.FLOAT16


def test_operators_stay_fused(any_precise_bundle: Path) -> None:
    for name, graph in _graphs(any_precise_bundle).items():
        before = onnx.load(any_precise_bundle / Precision.FP32 / f"{name}.onnx", load_external_data=False).graph
        kinds = [node.op_type for node in graph.node]
        assert kinds[: len(before.node)] == [node.op_type for node in before.node]
        assert kinds[len(before.node) :] == ([] if name == "instruction" else ["Cast"])


def test_no_layer_norm_has_an_epsilon_that_half_precision_loses(any_precise_bundle: Path) -> None:
    for graph in _graphs(any_precise_bundle).values():
        epsilons = [a.f for node in graph.node for a in node.attribute if a.name == "epsilon"]
        assert epsilons
        assert min(epsilons) >= SAFE_EPSILON * 0.999
