from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from infembed.bundle import Bundle, Pooling
from infembed.encoder import OnnxEncoder
from infembed.inputs import Fusion, InputType, TextInput
from model_export.bert_graphs import BertGraphs
from model_export.weights import BertShape

SHAPE = BertShape(
    n_layers=2, n_heads=4, dim=32, feed_forward_dim=64, vocabulary=50, n_positions=64, layer_norm_epsilon=1e-12
)
GRAPHS = BertGraphs(SHAPE)


def _operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_the_document_graph_is_fused() -> None:
    counts = _operators(GRAPHS.document())
    fused = {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2, "EmbedLayerNormalization": 1}
    assert {name: counts[name] for name in fused} == fused
    assert counts["Softmax"] == counts["LayerNormalization"] == counts["Erf"] == 0


def test_prefix_has_one_attention_over_past_and_query_in_every_layer() -> None:
    nodes = [node for node in GRAPHS.query(Fusion.PREFIX).graph.node if node.op_type == "MultiHeadAttention"]
    assert len(nodes) == SHAPE.n_layers
    for node in nodes:
        _, _, _, _, key_padding_mask, _, past_key, past_value = node.input
        assert key_padding_mask
        assert past_key
        assert past_value


def test_the_papers_attention_is_one_single_headed_node() -> None:
    (node,) = [node for node in GRAPHS.query(Fusion.ATTENTION).graph.node if node.op_type == "MultiHeadAttention"]
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert attributes["num_heads"] == 1
    assert attributes["scale"] == pytest.approx(SHAPE.dim**-0.5)


@pytest.mark.parametrize("fusion", [Fusion.PREFIX, Fusion.ATTENTION])
def test_graphs_hold_no_weights(fusion: Fusion) -> None:
    for model in (GRAPHS.document(), GRAPHS.instruction(fusion), GRAPHS.query(fusion)):
        assert len(model.SerializeToString()) < 30_000
        for tensor in model.graph.initializer:
            is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
            assert is_external or np.prod(tensor.dims) <= 1


def test_the_instruction_graph_stops_at_the_last_layers_keys() -> None:
    counts = _operators(GRAPHS.instruction(Fusion.PREFIX))
    assert counts["BiasGelu"] == SHAPE.n_layers - 1


def test_cls_pooling_takes_the_first_real_token() -> None:
    mean, cls = (BertGraphs(SHAPE, pooling).document() for pooling in Pooling)
    assert _operators(cls)["Equal"] == 1
    assert _operators(mean)["Equal"] == 0


def test_states_of_different_instructions_are_chosen_by_index(tiny_bundle: Path) -> None:
    encoder = OnnxEncoder(Bundle.open(tiny_bundle))
    queries = [TextInput("bread", InputType.QUERY, why) for why in ("no yeast", "for a child", "no yeast")]
    first, second, third = encoder.encode_queries(queries)
    np.testing.assert_allclose(first, third, atol=1e-6)
    assert np.abs(first - second).max() > 1e-3
