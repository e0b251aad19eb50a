"""Rewrite float32 graphs for float16: weights, states and constants in half precision, for the CUDA provider.

Token ids and masks stay as they are; embeddings come out in float32, instruction states in float16, as the query graph
takes them.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infembed.weightfile import StoredTensor
from model_export.initializers import external_initializer

EMBEDDING = "embedding"
SAFE_EPSILON = 1e-6
"""Least epsilon of a layer norm: kernels round it to float16, where 1e-12 is zero."""


def halved(model: onnx.ModelProto, layout: Mapping[str, StoredTensor]) -> onnx.ModelProto:
    """Return the graph over the tensors of a float16 `layout`, by name."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for node in graph.node:
        _halve_attributes(node)
    initializers = [
        external_initializer(layout[each.name]) if each.name in layout else _halved_tensor(each)
        for each in graph.initializer
    ]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name != EMBEDDING and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    _return_float32(graph)
    return result


def _halve_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.name == "epsilon":
            attribute.f = max(attribute.f, SAFE_EPSILON)
        elif attribute.type == onnx.AttributeProto.TENSOR:
            attribute.t.CopyFrom(_halved_tensor(attribute.t))


def _halved_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)


def _return_float32(graph: onnx.GraphProto) -> None:
    """Cast the embedding as the last step; it is what leaves the model."""
    for node in graph.node:
        for number, name in enumerate(node.output):
            if name == EMBEDDING:
                node.output[number] = f"{EMBEDDING}.fp16"
                cast = helper.make_node("Cast", [f"{EMBEDDING}.fp16"], [EMBEDDING], name="cast", to=TensorProto.FLOAT)
                graph.node.append(cast)
                return
