"""The three ONNX graphs of a BERT-family bundle, written with ONNX Runtime's fused operators.

    document.onnx      tokens -> pooled embedding
    instruction.onnx   instruction tokens -> instruction state, which does not depend on the query
    query.onnx         query tokens (+ instruction state) -> pooled embedding

The graphs hold no weights: every initializer points into the bundle's `weights.bin` (model_export/weights.py).
Inputs are int64. Pad tokens may stand on either side: positions count real tokens only.
Legend: B rows, U unique instructions, T tokens, I instruction tokens, L layers, H heads, D dim.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from infembed.bundle import Pooling, Tower
from infembed.inputs import Fusion
from infembed.weightfile import StoredTensor
from model_export.initializers import external_initializer
from model_export.weights import QUERY_TOWER, BertShape, TensorRecipe, bert_layout, query_layout

OPSET = 17
MICROSOFT = "com.microsoft"


@dataclass
class _Graph:
    """Nodes and initializers under construction; each method adds nodes and returns the output's name."""

    layout: dict[str, StoredTensor]
    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], *, domain: str = "", n_outputs: int = 1, **attributes: object) -> str:
        """Append a node; with several outputs the names are `<output>`, `<output>.1`, ..."""
        name = f"{kind}.{len(self.nodes)}"
        outputs = [name] + [f"{name}.{i}" for i in range(1, n_outputs)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return name

    def weight(self, name: str) -> str:
        """Declare a tensor of the weight file as an initializer; the tower's own where it has one."""
        name = self.prefix + name if self.prefix + name in self.layout else name
        if name not in self.initializers:
            self.initializers[name] = external_initializer(self.layout[name])
        return name

    def constant(self, name: str, value: float | list[int], dtype: type[np.generic] = np.int64) -> str:
        """Declare a small constant that lives in the graph itself."""
        if name not in self.initializers:
            self.initializers[name] = onnx.numpy_helper.from_array(np.array(value, dtype=dtype), name)
        return name

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, inputs, outputs, initializer=list(self.initializers.values()))
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=10,
            producer_name="inf-embed",
        )


@dataclass(frozen=True)
class BertGraphs:
    """Builds the graphs of one encoder; each method returns a checked-ready model."""

    shape: BertShape
    pooling: Pooling = Pooling.MEAN
    tower: Tower = Tower.SHARED

    @property
    def layout(self) -> tuple[TensorRecipe, ...]:
        own = query_layout(self.shape) if self.tower is Tower.FROZEN else ()
        return (*bert_layout(self.shape), *own)

    def _start(self, *, is_query: bool = True) -> _Graph:
        layout = {recipe.stored.name: recipe.stored for recipe in self.layout}
        return _Graph(layout, prefix=QUERY_TOWER if is_query else "")

    def document(self) -> onnx.ModelProto:
        """`input_ids`, `attention_mask` (B, T) -> `embedding` (B, D), not normalised."""
        return self._text("document", is_query=False)

    def _text(self, name: str, *, is_query: bool) -> onnx.ModelProto:
        graph = self._start(is_query=is_query)
        states = self._encode(graph)
        self._pool(graph, states)
        return graph.model(name, _tokens("B", "T"), [_floats("embedding", "B", self.shape.dim)])

    def instruction(self, fusion: Fusion) -> onnx.ModelProto:
        """`input_ids`, `attention_mask` (U, I) -> `instruction_state`.

        `prefix`: keys and values of every layer, (U, L, 2, H, I, D / H). `attention`: token states, (U, I, D).
        """
        graph = self._start()
        if fusion is Fusion.ATTENTION:
            graph.op("Identity", [self._encode(graph)])
            _rename_output(graph, "instruction_state")
            state = _floats("instruction_state", "U", "I", self.shape.dim)
        else:
            self._keys_and_values(graph)
            _rename_output(graph, "instruction_state")
            shape = self.shape
            state = _floats("instruction_state", "U", shape.n_layers, 2, shape.n_heads, "I", shape.head_dim)
        return graph.model("instruction", _tokens("U", "I"), [state])

    def query(self, fusion: Fusion) -> onnx.ModelProto:
        """Query tokens and instruction states -> `embedding` (B, D), not normalised.

        Inputs besides the tokens (B, T): `instruction_state` (U, ...), `instruction_mask` (U, I) and
        `instruction_index` (B,), the state each row uses. A row of the mask without a one is "no instruction".
        """
        if fusion is Fusion.CONCAT:
            return self._text("document" if self.tower is Tower.SHARED else "query", is_query=True)
        graph = self._start()
        if fusion is Fusion.PREFIX:
            self._pool(graph, self._encode_after_instruction(graph))
            shape = self.shape
            state = _floats("instruction_state", "U", shape.n_layers, 2, shape.n_heads, "I", shape.head_dim)
        else:
            self._attend(graph, self._encode(graph))
            state = _floats("instruction_state", "U", "I", self.shape.dim)
        inputs = [*_tokens("B", "T"), state, _integers("instruction_mask", "U", "I")]
        inputs.append(_integers("instruction_index", "B"))
        return graph.model("query", inputs, [_floats("embedding", "B", self.shape.dim)])

    # -- parts ---------------------------------------------------------------------------------

    def _embed(self, graph: _Graph, n_before: str | None = None) -> str:
        """Token, position and segment embeddings with layer norm; `n_before` (B, 1) shifts the positions."""
        zero, one = graph.constant("zero", 0), graph.constant("one", 1)
        counted = graph.op("CumSum", ["attention_mask", one])
        positions = graph.op("Max", [graph.op("Sub", [counted, one]), zero])
        if n_before is not None:
            positions = graph.op("Add", [positions, n_before])
        position_ids = graph.op("Cast", [positions], to=TensorProto.INT32)
        input_ids = graph.op("Cast", ["input_ids"], to=TensorProto.INT32)
        return graph.op(
            "EmbedLayerNormalization",
            [
                input_ids,
                "",
                graph.weight("embeddings.words"),
                graph.weight("embeddings.positions"),
                "",
                graph.weight("embeddings.norm.weight"),
                graph.weight("embeddings.norm.bias"),
                "",
                position_ids,
            ],
            domain=MICROSOFT,
            n_outputs=2,
            epsilon=self.shape.layer_norm_epsilon,
        )

    def _encode(self, graph: _Graph) -> str:
        states = self._embed(graph)
        mask = graph.op("Cast", ["attention_mask"], to=TensorProto.INT32)
        for layer in range(self.shape.n_layers):
            attended = graph.op(
                "Attention",
                [states, graph.weight(f"layer.{layer}.qkv.weight"), graph.weight(f"layer.{layer}.qkv.bias"), mask],
                domain=MICROSOFT,
                num_heads=self.shape.n_heads,
            )
            states = self._finish_layer(graph, layer, states, attended)
        return states

    def _finish_layer(self, graph: _Graph, layer: int, states: str, attended: str) -> str:
        """Output projection, residual and norm, feed-forward, residual and norm."""
        projected = graph.op("MatMul", [attended, graph.weight(f"layer.{layer}.attention_out.weight")])
        states = self._skip_norm(
            graph, projected, states, f"layer.{layer}.attention_out", f"layer.{layer}.attention_norm"
        )
        inner = graph.op("MatMul", [states, graph.weight(f"layer.{layer}.inner.weight")])
        inner = graph.op("BiasGelu", [inner, graph.weight(f"layer.{layer}.inner.bias")], domain=MICROSOFT)
        outer = graph.op("MatMul", [inner, graph.weight(f"layer.{layer}.outer.weight")])
        return self._skip_norm(graph, outer, states, f"layer.{layer}.outer", f"layer.{layer}.outer_norm")

    def _skip_norm(self, graph: _Graph, new: str, residual: str, linear: str, norm: str) -> str:
        return graph.op(
            "SkipLayerNormalization",
            [
                new,
                residual,
                graph.weight(f"{norm}.weight"),
                graph.weight(f"{norm}.bias"),
                graph.weight(f"{linear}.bias"),
            ],
            domain=MICROSOFT,
            epsilon=self.shape.layer_norm_epsilon,
        )

    def _project(self, graph: _Graph, layer: int, states: str) -> list[str]:
        """Query, key and value projections without bias, each (B, T, D)."""
        packed = graph.op("MatMul", [states, graph.weight(f"layer.{layer}.qkv.weight")])
        first = graph.op("Split", [packed], n_outputs=3, axis=2)
        return [first, f"{first}.1", f"{first}.2"]

    def _keys_and_values(self, graph: _Graph) -> None:
        """Run the instruction alone, keeping each layer's keys and values; the last layer stops there."""
        states = self._embed(graph)
        mask = graph.op("Cast", ["attention_mask"], to=TensorProto.INT32)
        kept = []
        for layer in range(self.shape.n_layers):
            projections = self._project(graph, layer, states)
            attended = graph.op(
                "MultiHeadAttention",
                [*projections, graph.weight(f"layer.{layer}.qkv.bias"), mask],
                domain=MICROSOFT,
                n_outputs=3,
                num_heads=self.shape.n_heads,
            )
            axis = graph.constant("axis_1", [1])
            pair = [graph.op("Unsqueeze", [f"{attended}.{i}", axis]) for i in (1, 2)]
            both = graph.op("Concat", pair, axis=1)
            kept.append(graph.op("Unsqueeze", [both, axis]))
            if layer < self.shape.n_layers - 1:
                states = self._finish_layer(graph, layer, states, attended)
        graph.op("Concat", kept, axis=1)

    def _encode_after_instruction(self, graph: _Graph) -> str:
        """Run the query; in every layer its tokens see the instruction's keys and values before their own."""
        mask = graph.op("Gather", ["instruction_mask", "instruction_index"], axis=0)
        one = graph.constant("axis_1", [1])
        n_before = graph.op("ReduceSum", [mask, one], keepdims=1)
        states = self._embed(graph, n_before)
        both = graph.op("Cast", [graph.op("Concat", [mask, "attention_mask"], axis=1)], to=TensorProto.INT32)
        key, value = graph.constant("zero", 0), graph.constant("one", 1)
        for layer in range(self.shape.n_layers):
            pair = graph.op("Gather", ["instruction_state", graph.constant(f"layer_{layer}", layer)], axis=1)
            past = [
                graph.op("Gather", [graph.op("Gather", [pair, which], axis=1), "instruction_index"], axis=0)
                for which in (key, value)
            ]
            projections = self._project(graph, layer, states)
            attended = graph.op(
                "MultiHeadAttention",
                [*projections, graph.weight(f"layer.{layer}.qkv.bias"), both, "", *past],
                domain=MICROSOFT,
                n_outputs=3,
                num_heads=self.shape.n_heads,
            )
            states = self._finish_layer(graph, layer, states, attended)
        return states

    def _attend(self, graph: _Graph, states: str) -> None:
        """Apply the paper's Eq. 4, softmax(H_I H_Q^T / sqrt d) H_Q, averaged over instruction tokens."""
        instruction = graph.op("Gather", ["instruction_state", "instruction_index"], axis=0)
        mask = graph.op("Gather", ["instruction_mask", "instruction_index"], axis=0)
        query_mask = graph.op("Cast", ["attention_mask"], to=TensorProto.INT32)
        mixed = graph.op(
            "MultiHeadAttention",
            [instruction, states, states, "", query_mask],
            domain=MICROSOFT,
            num_heads=1,
            scale=float(self.shape.dim) ** -0.5,
        )
        fused = self._mean(graph, mixed, mask)
        plain = self._mean(graph, states, self._pooled_tokens(graph))
        n_tokens = graph.op("ReduceSum", [mask, graph.constant("axis_1", [1])], keepdims=1)
        has_instruction = graph.op("Greater", [n_tokens, graph.constant("zero", 0)])
        graph.op("Where", [has_instruction, fused, plain])
        _rename_output(graph, "embedding")

    def _pool(self, graph: _Graph, states: str) -> None:
        self._mean(graph, states, self._pooled_tokens(graph))
        _rename_output(graph, "embedding")

    def _pooled_tokens(self, graph: _Graph) -> str:
        """(B, T) ones where a token counts: all real tokens for mean, the first real one for CLS."""
        if self.pooling is Pooling.MEAN:
            return "attention_mask"
        one = graph.constant("one", 1)
        counted = graph.op("CumSum", ["attention_mask", one])
        first = graph.op("Cast", [graph.op("Equal", [counted, one])], to=TensorProto.INT64)
        return graph.op("Mul", [first, "attention_mask"])

    def _mean(self, graph: _Graph, states: str, mask: str) -> str:
        """Average (B, T, D) over the tokens that `mask` (B, T) keeps; zero where it keeps none."""
        weights = graph.op("Cast", [mask], to=TensorProto.FLOAT)
        axis = graph.constant("axis_1", [1])
        total = graph.op("MatMul", [graph.op("Unsqueeze", [weights, axis]), states])
        count = graph.op("ReduceSum", [weights, axis], keepdims=1)
        count = graph.op("Max", [count, graph.constant("one_float", 1.0, np.float32)])
        return graph.op("Div", [graph.op("Squeeze", [total, axis]), count])


def _rename_output(graph: _Graph, name: str) -> None:
    graph.nodes[-1].output[0] = name


def _tokens(rows: str, length: str) -> list[onnx.ValueInfoProto]:
    return [_integers("input_ids", rows, length), _integers("attention_mask", rows, length)]


def _integers(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, list(shape))


def _floats(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
