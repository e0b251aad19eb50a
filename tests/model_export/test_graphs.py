from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from infembed.bundle import Bundle, GraphName, MaxTokens, Pooling, Tower
from infembed.encoder import OnnxEncoder
from infembed.errors import MismatchedArtefactError
from infembed.inputs import Fusion, InputType, TextInput
from model_export.bert import BertShape
from model_export.blueprint import Blueprint
from model_export.graph_checks import require_fused
from model_export.graphs import write_graphs

SHAPE = BertShape(
    n_layers=2, n_heads=4, dim=32, feed_forward_dim=64, vocabulary=50, n_positions=64, layer_norm_epsilon=1e-12
)


def _graphs(
    fusion: Fusion, *, pooling: Pooling = Pooling.MEAN, pools_instruction: bool = False
) -> dict[GraphName, onnx.ModelProto]:
    blueprint = Blueprint(
        shape=SHAPE,
        fusion=fusion,
        pooling=pooling,
        pools_instruction=pools_instruction,
        max_tokens=MaxTokens(document=64, query=32, instruction=32),
    )
    return write_graphs(blueprint).models


def _operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_the_document_graph_is_fused() -> None:
    counts = _operators(_graphs(Fusion.PREFIX)[GraphName.DOCUMENT])
    fused = {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2, "EmbedLayerNormalization": 1}
    assert {name: counts[name] for name in fused} == fused
    assert counts["Softmax"] == counts["LayerNormalization"] == counts["Erf"] == 0


def _attention(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "MultiHeadAttention"]


def test_prefix_has_one_attention_over_past_and_query_in_every_layer() -> None:
    nodes = _attention(_graphs(Fusion.PREFIX)[GraphName.QUERY])
    assert len(nodes) == SHAPE.n_layers
    for node in nodes:
        _, _, _, _, key_padding_mask, _, past_key, past_value = node.input
        assert key_padding_mask
        assert past_key
        assert past_value


def test_the_papers_attention_is_one_single_headed_node() -> None:
    (node,) = _attention(_graphs(Fusion.ATTENTION)[GraphName.QUERY])
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert attributes["num_heads"] == 1
    assert attributes["scale"] == pytest.approx(SHAPE.dim**-0.5)


@pytest.mark.parametrize("fusion", [Fusion.PREFIX, Fusion.ATTENTION])
def test_graphs_hold_no_weights(fusion: Fusion) -> None:
    for model in _graphs(fusion).values():
        assert len(model.SerializeToString()) < 30_000
        for tensor in model.graph.initializer:
            is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
            assert is_external or np.prod(tensor.dims) <= 1


def test_the_instruction_graph_stops_at_the_last_layers_keys() -> None:
    counts = _operators(_graphs(Fusion.PREFIX)[GraphName.INSTRUCTION])
    assert counts["BiasGelu"] == SHAPE.n_layers - 1


def test_a_pooled_instruction_is_read_to_the_end_and_kept_as_one_more_pair() -> None:
    models = _graphs(Fusion.PREFIX, pools_instruction=True)
    instruction = models[GraphName.INSTRUCTION].graph
    assert _operators(models[GraphName.INSTRUCTION])["BiasGelu"] == SHAPE.n_layers
    assert instruction.output[0].type.tensor_type.shape.dim[1].dim_value == SHAPE.n_layers + 1


def test_what_no_graph_reads_is_not_stored() -> None:
    blueprint = Blueprint(
        shape=SHAPE,
        fusion=Fusion.PREFIX,
        tower=Tower.FROZEN,
        pooling=Pooling.MEAN,
        max_tokens=MaxTokens(document=64, query=32, instruction=32),
    )
    graphs = write_graphs(blueprint)
    read = {tensor.name for model in graphs.models.values() for tensor in model.graph.initializer}
    stored = {tensor.name for tensor in graphs.layout}
    assert stored <= read
    assert {name for name in stored if name.startswith("query.")} == {f"query.{r.name}" for r in SHAPE.tensors()}


def test_a_graph_without_its_fused_nodes_is_refused() -> None:
    blueprint = Blueprint(
        shape=SHAPE,
        fusion=Fusion.CONCAT,
        pooling=Pooling.MEAN,
        max_tokens=MaxTokens(document=64, query=9, instruction=9),
    )
    model = write_graphs(blueprint).models[GraphName.DOCUMENT]
    require_fused(blueprint, GraphName.DOCUMENT, model)
    model.graph.node.remove(next(node for node in model.graph.node if node.op_type == "BiasGelu"))
    with pytest.raises(MismatchedArtefactError, match=r"document.onnx has the fused nodes .*'BiasGelu': 1.* expected"):
        require_fused(blueprint, GraphName.DOCUMENT, model)


def test_cls_pooling_takes_the_first_real_token() -> None:
    mean, cls = (_graphs(Fusion.PREFIX, pooling=pooling)[GraphName.DOCUMENT] for pooling in Pooling)
    assert _operators(cls)["Equal"] == 1
    assert _operators(mean)["Equal"] == 0


def test_states_of_different_instructions_are_chosen_by_index(tiny_bundle: Path) -> None:
    encoder = OnnxEncoder(Bundle.open(tiny_bundle))
    queries = [TextInput("bread", InputType.QUERY, why) for why in ("no yeast", "for a child", "no yeast")]
    first, second, third = encoder.encode_queries(queries)
    np.testing.assert_allclose(first, third, atol=1e-6)
    assert np.abs(first - second).max() > 1e-3
