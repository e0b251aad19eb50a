"""A text graph without padding: real tokens of a batch one after another, through every layer, on the CUDA provider.

Only that provider has these operators. The number of real tokens is known when the batch runs, so a packed graph cannot
be captured as a CUDA graph: it is for long batches of unequal texts, the padded one for short queries. Pads must stand
on the right.
"""

import onnx
from onnx import TensorProto, helper

from infembed.errors import MismatchedArtefactError

_MICROSOFT = "com.microsoft"
_PACKED, _OFFSET, _CUMULATED, _LONGEST = "packed", "packed.offset", "packed.cumulated", "packed.longest"


def pack(padded: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with RemovePadding before its layers, PackedAttention in them and RestorePadding after them."""
    model = onnx.ModelProto()
    model.CopyFrom(padded)
    attentions = [node for node in model.graph.node if node.op_type == "Attention"]
    if not attentions:
        raise MismatchedArtefactError(
            f"graph {model.graph.name} has no Attention node to pack; pack document.onnx of a BERT-family bundle"
        )
    embedded, mask = attentions[0].input[0], attentions[0].input[3]
    last = [node for node in model.graph.node if node.op_type == "SkipLayerNormalization"][-1].output[0]
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if mask in node.output:
            continue
        _read_instead(node, {embedded: _PACKED, last: "restored"})
        nodes.append(_packed_attention(node) if node.op_type == "Attention" else node)
        if embedded in node.output:
            nodes += _remove_padding(embedded)
        if last in node.output:
            nodes.append(_microsoft("RestorePadding", [last, _OFFSET], ["restored"]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _read_instead(node: onnx.NodeProto, names: dict[str, str]) -> None:
    for number, name in enumerate(node.input):
        node.input[number] = names.get(name, name)


def _remove_padding(states: str) -> list[onnx.NodeProto]:
    """Count each row's tokens and drop the rest; `axis_1` is the graph's own constant."""
    return [
        helper.make_node("ReduceSum", ["attention_mask", "axis_1"], ["packed.counts"], "packed.counts", keepdims=0),
        helper.make_node("Cast", ["packed.counts"], ["packed.counts_32"], "packed.counts_32", to=TensorProto.INT32),
        _microsoft("RemovePadding", [states, "packed.counts_32"], [_PACKED, _OFFSET, _CUMULATED, _LONGEST]),
    ]


def _packed_attention(attention: onnx.NodeProto) -> onnx.NodeProto:
    states, weight, bias = attention.input[:3]
    node = _microsoft("PackedAttention", [states, weight, bias, _OFFSET, _CUMULATED], list(attention.output))
    node.attribute.extend(attention.attribute)
    return node


def _microsoft(kind: str, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, name=f"{kind}.{outputs[0]}", domain=_MICROSOFT)
