"""Rewrite float32 graphs so that their matrices are multiplied as 8-bit integers.

Activations are quantized while running, each token by its own largest value, so that a text has the same vector alone
and in any batch. `DynamicQuantizeMatMul` would give the whole batch one scale: the vector of a text would depend on the
texts of strangers. Weights are signed, activations unsigned: the pair for which processors have instructions (VNNI).

`SkipLayerNormalization` is taken apart here: on the CPU, ONNX Runtime 1.32 computes it element by element, five times
slower than two additions and a `LayerNormalization`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infembed.weightfile import StoredTensor
from model_export.initializers import external_initializer
from model_export.rounding import Scaled

MICROSOFT = "com.microsoft"
_MATRIX_INPUT = {"MatMul": 1, "Attention": 1}
_TABLE_INPUT = {"EmbedLayerNormalization": 2, "Gather": 0}
_LEAST = np.float32(1e-9)
"""Below it a token's values count as zero, and nothing is divided by zero."""


def choose_scales(models: Iterable[onnx.ModelProto], layout: Mapping[str, StoredTensor]) -> dict[str, Scaled]:
    """Find what can be int8: stored matrices that are only multiplied by, and word tables that are only looked up."""
    uses: dict[str, set[Scaled | None]] = {}
    for node, number, name in _uses(models):
        if name in layout and len(layout[name].shape) == 2:
            uses.setdefault(name, set()).add(_scaled_as(node, number))
    return {name: kind for name, kinds in uses.items() if len(kinds) == 1 and (kind := next(iter(kinds))) is not None}


def _uses(models: Iterable[onnx.ModelProto]) -> Iterator[tuple[onnx.NodeProto, int, str]]:
    for model in models:
        for node in model.graph.node:
            for number, name in enumerate(node.input):
                yield node, number, name


def _scaled_as(node: onnx.NodeProto, number: int) -> Scaled | None:
    if _MATRIX_INPUT.get(node.op_type) == number:
        return Scaled.COLUMNS
    return Scaled.ROWS if _TABLE_INPUT.get(node.op_type) == number else None


def quantized(model: onnx.ModelProto, layout: Mapping[str, StoredTensor]) -> onnx.ModelProto:
    """Return the graph over the tensors of an int8 `layout`, by name."""
    rewriter = _Rewriter(model, layout)
    for node in model.graph.node:
        rewriter.rewrite(node)
    return rewriter.finished()


class _Rewriter:
    """The new graph under construction; each step adds nodes that end in an output of the old one."""

    def __init__(self, model: onnx.ModelProto, layout: Mapping[str, StoredTensor]) -> None:
        self._model = model
        self._layout = layout
        self._consumed = Counter(name for node in model.graph.node for name in node.input)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def rewrite(self, node: onnx.NodeProto) -> None:
        kind = node.op_type
        if kind == "MatMul" and self._is_scaled(node.input[1]):
            self._multiply(node.input[0], node.input[1], node.output[0])
        elif kind == "Attention" and self._is_scaled(node.input[1]):
            self._attention(node)
        elif kind == "SkipLayerNormalization" and not self._uses_more_than_first(node):
            self._skip_norm(node)
        elif kind == "EmbedLayerNormalization" and self._is_scaled(node.input[2]):
            self._embed(node)
        elif kind == "Gather" and self._is_scaled(node.input[0]):
            self._look_up(node.input[0], node.input[1], node.output[0])
            self._nodes[-1].output[0] = node.output[0]
        else:
            self._nodes.append(node)

    def finished(self) -> onnx.ModelProto:
        """Assemble the model: inputs and outputs as before, initializers that are still used."""
        used = {name for node in self._nodes for name in node.input}
        old = self._model.graph
        kept = [each for each in old.initializer if each.name in used and each.name not in self._layout]
        stored = [external_initializer(self._layout[name]) for name in self._layout if name in used]
        graph = helper.make_graph(
            self._nodes, old.name, old.input, old.output, initializer=[*kept, *self._constants.values(), *stored]
        )
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        result.graph.CopyFrom(graph)
        return result

    # -- parts ---------------------------------------------------------------------------------

    def _multiply(self, states: str, matrix: str, output: str) -> None:
        """Multiply (B, T, in) by an int8 matrix (in, out): scale each token to [-1, 1], round, multiply, scale back."""
        step, zero = self._constant("int8.step", np.float32(1 / 127)), self._constant("int8.zero", np.uint8(128))
        magnitudes = self._op("Abs", [states], output)
        largest = self._op("ReduceMax", [magnitudes], output, axes=[-1], keepdims=1)
        largest = self._op("Max", [largest, self._constant("int8.least", _LEAST)], output)
        rounded = self._op("QuantizeLinear", [self._op("Div", [states, largest], output), step, zero], output)
        product = self._op(
            "MatMulIntegerToFloat",
            [rounded, matrix, step, matrix + Scaled.COLUMNS, zero],
            output,
            domain=MICROSOFT,
        )
        self._nodes.append(helper.make_node("Mul", [product, largest], [output], name=output))

    def _attention(self, node: onnx.NodeProto) -> None:
        """Project outside of the attention: packed `Attention` multiplies in float32."""
        states, matrix, bias, mask = node.input[:4]
        (output,) = node.output
        packed = f"{output}.packed"
        self._multiply(states, matrix, packed)
        parts = [f"{packed}.{part}" for part in ("query", "key", "value")]
        self._nodes.append(helper.make_node("Split", [packed], parts, name=f"{packed}.split", axis=2))
        attention = helper.make_node(
            "MultiHeadAttention", [*parts, bias, mask], [output], name=output, domain=MICROSOFT
        )
        attention.attribute.extend(node.attribute)
        self._nodes.append(attention)

    def _skip_norm(self, node: onnx.NodeProto) -> None:
        new, residual, gain, shift, bias = (*node.input, "", "")[:5]
        output = node.output[0]
        if bias:
            new = self._op("Add", [new, bias], output)
        total = self._op("Add", [new, residual], output)
        self._norm(total, [gain, shift] if shift else [gain], output, node)

    def _embed(self, node: onnx.NodeProto) -> None:
        """Look words up, add the positions, normalise."""
        ids, table, positions = node.input[0], node.input[2], node.input[3]
        output = node.output[0]
        words = self._look_up(table, ids, output)
        total = self._op("Add", [words, self._op("Gather", [positions, node.input[8]], output)], output)
        self._norm(total, node.input[5:7], output, node)

    def _look_up(self, table: str, ids: str, output: str) -> str:
        """Look words up in an int8 table with one scale a token."""
        words = self._op("Cast", [self._op("Gather", [table, ids], output)], output, to=TensorProto.FLOAT)
        steps = self._op("Gather", [table + Scaled.ROWS, ids], output)
        steps = self._op("Unsqueeze", [steps, self._constant("int8.last", np.array([-1]))], output)
        return self._op("Mul", [words, steps], output)

    def _norm(self, states: str, gain_and_shift: Iterable[str], output: str, node: onnx.NodeProto) -> None:
        epsilon = next(each.f for each in node.attribute if each.name == "epsilon")
        inputs = [states, *gain_and_shift]
        self._nodes.append(helper.make_node("LayerNormalization", inputs, [output], name=output, epsilon=epsilon))

    # -- nodes ---------------------------------------------------------------------------------

    def _op(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: object) -> str:
        """Append a step on the way to `output`."""
        name = f"{output}/{kind}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def _constant(self, name: str, value: np.generic | np.ndarray) -> str:
        self._constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def _is_scaled(self, name: str) -> bool:
        return any(name + what in self._layout for what in Scaled)

    def _uses_more_than_first(self, node: onnx.NodeProto) -> bool:
        return any(self._consumed[name] for name in node.output[1:] if name)
