"""The ONNX graphs of a bundle, written operator by operator (docs/decisions/0002).

    document.onnx      tokens -> pooled embedding
    instruction.onnx   instruction tokens -> instruction state, which does not depend on the query
    query.onnx         query tokens (+ instruction state) -> pooled embedding

The graphs hold no weights: every initializer points into the bundle's weight files (model_export/weights.py).
Inputs are int64. Pad tokens may stand on either side: positions count real tokens only.
Legend: B rows, U unique instructions, T tokens, I instruction tokens, L layers, H heads, D dim.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from infembed.bundle import GraphName, Pooling, Tower
from infembed.inputs import Fusion
from infembed.weightfile import StoredTensor
from model_export.bert import BertShape
from model_export.bert_layers import BertLayers
from model_export.blueprint import Blueprint, Shape
from model_export.graph_builder import MICROSOFT, Draft, GraphBuilder
from model_export.modernbert_layers import ModernBertLayers
from model_export.network import Network, Past, Sight, count_positions
from model_export.weights import lay_out


@dataclass(frozen=True)
class Graphs:
    """The graphs of a bundle by name, and where the weights lie that they read; nothing else is stored."""

    models: dict[GraphName, onnx.ModelProto]
    layout: tuple[StoredTensor, ...]


def write_graphs(blueprint: Blueprint) -> Graphs:
    """Write the graphs of a model."""
    writer = _Writer(blueprint, _network(blueprint.shape))
    drafts = {GraphName.DOCUMENT: writer.document(), GraphName.QUERY: writer.query()}
    if blueprint.fusion is not Fusion.CONCAT:
        drafts[GraphName.INSTRUCTION] = writer.instruction()
    layout = lay_out(blueprint.shape.tensors(), frozenset().union(*(draft.weights for draft in drafts.values())))
    places = {tensor.name: tensor for tensor in layout}
    return Graphs({name: draft.model(places) for name, draft in drafts.items()}, layout)


def _network(shape: Shape) -> Network:
    return BertLayers(shape) if isinstance(shape, BertShape) else ModernBertLayers(shape)


@dataclass(frozen=True)
class _Writer:
    blueprint: Blueprint
    network: Network

    def document(self) -> Draft:
        """`input_ids`, `attention_mask` (B, T) -> `embedding` (B, D), not normalised."""
        return self._text("document", GraphBuilder())

    def instruction(self) -> Draft:
        """`input_ids`, `attention_mask` (U, I) -> `instruction_state`.

        `prefix`: keys and values of every layer, (U, L, 2, H, I, D / H); where the instruction is pooled too, a further
        pair holds its last states, twice. `attention`: token states, (U, I, D).
        """
        graph = self._start_query()
        if self.blueprint.fusion is Fusion.ATTENTION:
            graph.op("Identity", [self._encode(graph)])
        else:
            self._keys_and_values(graph)
        graph.rename_output("instruction_state")
        return graph.draft("instruction", _tokens("U", "I"), [self._state()])

    def query(self) -> Draft:
        """Query tokens and instruction states -> `embedding` (B, D), not normalised.

        Inputs besides the tokens (B, T): `instruction_state` (U, ...), `instruction_mask` (U, I) and
        `instruction_index` (B,), the state each row uses. A row of the mask without a one is "no instruction".
        """
        blueprint = self.blueprint
        if blueprint.fusion is Fusion.CONCAT:
            return self._text("document" if blueprint.tower is Tower.SHARED else "query", self._start_query())
        graph = GraphBuilder() if blueprint.tower is Tower.STEERED else self._start_query()
        if blueprint.fusion is Fusion.PREFIX:
            self._encode_after_instruction(graph)
        else:
            self._attend(graph, self._encode(graph))
        graph.rename_output("embedding")
        inputs = [*_tokens("B", "T"), self._state(), _integers("instruction_mask", "U", "I")]
        inputs.append(_integers("instruction_index", "B"))
        return graph.draft("query", inputs, [_floats("embedding", "B", blueprint.shape.dim)])

    # -- parts ---------------------------------------------------------------------------------

    def _start_query(self) -> GraphBuilder:
        return GraphBuilder(self.blueprint.own_tensors)

    def _state(self) -> onnx.ValueInfoProto:
        shape = self.blueprint.shape
        if self.blueprint.fusion is Fusion.ATTENTION:
            return _floats("instruction_state", "U", "I", shape.dim)
        n_pairs = shape.n_layers + self.blueprint.pools_instruction
        return _floats("instruction_state", "U", n_pairs, 2, shape.n_heads, "I", shape.head_dim)

    def _text(self, name: str, graph: GraphBuilder) -> Draft:
        self._mean(graph, self._encode(graph), self._pooled_tokens(graph))
        graph.rename_output("embedding")
        return graph.draft(name, _tokens("B", "T"), [_floats("embedding", "B", self.blueprint.shape.dim)])

    def _encode(self, graph: GraphBuilder) -> str:
        positions = count_positions(graph, "attention_mask")
        states = self.network.embed(graph, positions)
        sight = Sight(graph.op("Cast", ["attention_mask"], to=TensorProto.INT32), positions)
        for layer in range(self.blueprint.shape.n_layers):
            attended = self.network.attend(graph, layer, states, sight, past=None, keeps=False)
            states = self.network.finish_layer(graph, layer, states, attended)
        return states.normed

    def _keys_and_values(self, graph: GraphBuilder) -> None:
        """Run the instruction alone, keeping each layer's keys and values; the last layer stops there."""
        positions = count_positions(graph, "attention_mask")
        states = self.network.embed(graph, positions)
        sight = Sight(graph.op("Cast", ["attention_mask"], to=TensorProto.INT32), positions)
        pairs = []
        for layer in range(self.blueprint.shape.n_layers):
            attended = self.network.attend(graph, layer, states, sight, past=None, keeps=True)
            pairs.append(_pair(graph, f"{attended}.1", f"{attended}.2"))
            if layer < self.blueprint.shape.n_layers - 1 or self.blueprint.pools_instruction:
                states = self.network.finish_layer(graph, layer, states, attended)
        if self.blueprint.pools_instruction:
            by_head = graph.constant("by_head", [0, 0, self.blueprint.shape.n_heads, self.blueprint.shape.head_dim])
            last = graph.op("Transpose", [graph.op("Reshape", [states.normed, by_head])], perm=[0, 2, 1, 3])
            pairs.append(_pair(graph, last, last))
        graph.op("Concat", pairs, axis=1)

    def _encode_after_instruction(self, graph: GraphBuilder) -> None:
        """Run the query; in every layer its tokens see the instruction's keys and values before their own."""
        mask = graph.op("Gather", ["instruction_mask", "instruction_index"], axis=0)
        n_before = graph.op("ReduceSum", [mask, graph.constant("axis_1", [1])], keepdims=1)
        positions = graph.op("Add", [count_positions(graph, "attention_mask"), n_before])
        states = self.network.embed(graph, positions)
        both = graph.op("Concat", [mask, "attention_mask"], axis=1)
        sight = Sight(graph.op("Cast", [both], to=TensorProto.INT32), positions, mask)
        n_layers = self.blueprint.shape.n_layers
        for layer in range(n_layers):
            past = self._past(graph, layer)
            attended = self.network.attend(graph, layer, states, sight, past=past, keeps=False)
            states = self.network.finish_layer(graph, layer, states, attended)
        if not self.blueprint.pools_instruction:
            self._mean(graph, states.normed, self._pooled_tokens(graph))
            return
        by_token = graph.op("Transpose", [self._past(graph, n_layers).keys], perm=[0, 2, 1, 3])
        instruction = graph.op("Reshape", [by_token, graph.constant("by_token", [0, 0, self.blueprint.shape.dim])])
        self._mean(graph, graph.op("Concat", [instruction, states.normed], axis=1), both)

    def _past(self, graph: GraphBuilder, number: int) -> Past:
        """Look up a pair of the instruction's states for each row; (B, H, I, D / H) each."""
        pair = graph.op("Gather", ["instruction_state", graph.constant(f"layer_{number}", number)], axis=1)
        which = graph.constant("zero", 0), graph.constant("one", 1)
        return Past(
            *(
                graph.op("Gather", [graph.op("Gather", [pair, one], axis=1), "instruction_index"], axis=0)
                for one in which
            )
        )

    def _attend(self, graph: GraphBuilder, states: str) -> None:
        """Apply the paper's Eq. 4, softmax(H_I H_Q^T / sqrt d) H_Q, averaged over instruction tokens."""
        instruction = graph.op("Gather", ["instruction_state", "instruction_index"], axis=0)
        mask = graph.op("Gather", ["instruction_mask", "instruction_index"], axis=0)
        query_mask = graph.op("Cast", ["attention_mask"], to=TensorProto.INT32)
        mixed = graph.op(
            "MultiHeadAttention",
            [instruction, states, states, "", query_mask],
            domain=MICROSOFT,
            num_heads=1,
            scale=float(self.blueprint.shape.dim) ** -0.5,
        )
        fused = self._mean(graph, mixed, mask)
        plain = self._mean(graph, states, self._pooled_tokens(graph))
        n_tokens = graph.op("ReduceSum", [mask, graph.constant("axis_1", [1])], keepdims=1)
        has_instruction = graph.op("Greater", [n_tokens, graph.constant("zero", 0)])
        graph.op("Where", [has_instruction, fused, plain])

    def _pooled_tokens(self, graph: GraphBuilder) -> str:
        """(B, T) ones where a token counts: all real tokens for mean, the first real one for CLS."""
        if self.blueprint.pooling is Pooling.MEAN:
            return "attention_mask"
        one = graph.constant("one", 1)
        counted = graph.op("CumSum", ["attention_mask", one])
        first = graph.op("Cast", [graph.op("Equal", [counted, one])], to=TensorProto.INT64)
        return graph.op("Mul", [first, "attention_mask"])

    def _mean(self, graph: GraphBuilder, states: str, mask: str) -> str:
        """Average (B, T, D) over the tokens that `mask` (B, T) keeps; zero where it keeps none."""
        weights = graph.op("Cast", [mask], to=TensorProto.FLOAT)
        axis = graph.constant("axis_1", [1])
        total = graph.op("MatMul", [graph.op("Unsqueeze", [weights, axis]), states])
        count = graph.op("ReduceSum", [weights, axis], keepdims=1)
        count = graph.op("Max", [count, graph.constant("one_float", 1.0, np.float32)])
        return graph.op("Div", [graph.op("Squeeze", [total, axis]), count])


def _pair(graph: GraphBuilder, keys: str, values: str) -> str:
    """Join keys and values to (U, 1, 2, H, I, D / H)."""
    axis = graph.constant("axis_1", [1])
    both = graph.op("Concat", [graph.op("Unsqueeze", [part, axis]) for part in (keys, values)], axis=1)
    return graph.op("Unsqueeze", [both, axis])


def _tokens(rows: str, length: str) -> list[onnx.ValueInfoProto]:
    return [_integers("input_ids", rows, length), _integers("attention_mask", rows, length)]


def _integers(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, list(shape))


def _floats(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
