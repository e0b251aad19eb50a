from collections import Counter
from math import prod

import onnx
import pytest

from infembed.bundle import Pooling
from infembed.errors import MismatchedArtefactError
from infembed.inputs import Fusion
from infembed.onnx_runtime import ort
from model_export.bert_graphs import BertGraphs
from model_export.packing import pack
from model_export.weights import BertShape

SHAPE = BertShape(
    n_layers=2, n_heads=4, dim=32, feed_forward_dim=64, vocabulary=50, n_positions=64, layer_norm_epsilon=1e-12
)
GRAPHS = BertGraphs(SHAPE)
ON_HOST = {"Shape", "Size", "NonZero", "Range", "ConstantOfShape", "If", "Loop", "Scan", "Where", "Reshape", "Expand"}


def _operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("pooling", list(Pooling))
def test_every_layer_attends_without_padding(pooling: Pooling) -> None:
    packed = _operators(pack(BertGraphs(SHAPE, pooling).document()))
    assert packed["PackedAttention"] == SHAPE.n_layers
    assert packed["RemovePadding"] == packed["RestorePadding"] == 1
    assert packed["Attention"] == 0


def test_every_node_reads_what_another_made_before_it() -> None:
    graph = pack(GRAPHS.document()).graph
    made = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    for node in graph.node:
        assert set(node.input) <= made, node.name
        made.update(node.output)
    assert graph.output[0].name in made


def test_layers_read_packed_states_and_pooling_reads_padded_ones() -> None:
    readers = {
        name: [node.op_type for node in pack(GRAPHS.document()).graph.node if name in node.input]
        for name in ("packed", "restored")
    }
    assert readers == {"packed": ["PackedAttention", "SkipLayerNormalization"], "restored": ["MatMul"]}


def test_onnx_runtime_knows_the_operators_and_has_no_kernel_for_them_on_the_processor() -> None:
    model = pack(GRAPHS.document())
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = bytes(4 * prod(tensor.dims))
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.NotImplemented, match="RemovePadding|PackedAttention"):
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_graph_without_packed_projections_is_refused() -> None:
    with pytest.raises(MismatchedArtefactError, match="no Attention node to pack; pack document.onnx"):
        pack(GRAPHS.query(Fusion.PREFIX))


def test_text_graphs_compute_no_shapes_on_the_host_so_that_cuda_graphs_can_capture_them() -> None:
    for model in (GRAPHS.document(), GRAPHS.instruction(Fusion.PREFIX), GRAPHS.query(Fusion.PREFIX)):
        assert not ON_HOST & set(_operators(model))
