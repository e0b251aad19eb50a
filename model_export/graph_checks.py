"""What is counted in a written graph, so that a fusion that is missing fails the export and not the latency."""

from collections import Counter

import onnx

from infembed.bundle import GraphName
from infembed.errors import MismatchedArtefactError
from infembed.inputs import Fusion
from model_export.bert import BertShape
from model_export.blueprint import Blueprint, Shape
from model_export.graph_builder import MICROSOFT

REMEMBERING = "MultiHeadAttention with past"
_PAST_KEYS = 6


def min_onnxruntime(shape: Shape) -> str:
    """Name the first ONNX Runtime that has the operators with these inputs on a CPU and reads the file format."""
    return "1.18" if isinstance(shape, BertShape) else "1.20"


def count_fused(model: onnx.ModelProto) -> Counter[str]:
    """Count ONNX Runtime's fused operators; attention over an instruction's keys and values is named apart."""
    return Counter(
        REMEMBERING if node.op_type == "MultiHeadAttention" and any(node.input[_PAST_KEYS:]) else node.op_type
        for node in model.graph.node
        if node.domain == MICROSOFT
    )


def expected_fused(blueprint: Blueprint, graph: GraphName) -> Counter[str]:
    """Say what a float32 graph must hold."""
    n_layers = blueprint.shape.n_layers
    is_bert = isinstance(blueprint.shape, BertShape)
    n_whole = n_layers
    attention = "Attention" if is_bert else "MultiHeadAttention"
    more: dict[str, int] = {}
    if graph is GraphName.INSTRUCTION and blueprint.fusion is Fusion.PREFIX:
        attention = "MultiHeadAttention"
        n_whole = n_layers if blueprint.pools_instruction else n_layers - 1
    if graph is GraphName.QUERY and blueprint.fusion is Fusion.PREFIX:
        attention = REMEMBERING
    if graph is GraphName.QUERY and blueprint.fusion is Fusion.ATTENTION:
        more = {"MultiHeadAttention": 1}
    rest = (
        {"EmbedLayerNormalization": 1, "SkipLayerNormalization": 2 * n_whole, "BiasGelu": n_whole}
        if is_bert
        else {"RotaryEmbedding": 2 * n_layers, "SkipLayerNormalization": 2 * n_whole, "Gelu": n_whole}
    )
    return Counter({attention: n_layers}) + Counter(rest) + Counter(more)


def require_fused(blueprint: Blueprint, graph: GraphName, model: onnx.ModelProto) -> None:
    """Refuse a float32 graph that lacks a fused node, or has one too many."""
    found, expected = count_fused(model), expected_fused(blueprint, graph)
    if found != expected:
        raise MismatchedArtefactError(
            f"{graph}.onnx has the fused nodes {dict(sorted(found.items()))}, expected "
            f"{dict(sorted(expected.items()))}; report this, the graphs are not the ones this release writes"
        )
