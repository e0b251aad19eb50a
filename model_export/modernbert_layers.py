"""The layers of a ModernBERT encoder in ONNX Runtime's fused operators.

Two of BERT's have no counterpart: `EmbedLayerNormalization` wants a table of positions, `BiasGelu` a bias.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from model_export.graph_builder import MICROSOFT, GraphBuilder
from model_export.modernbert import ModernBertShape
from model_export.network import Past, Sight, States, count_positions

_OUT_OF_SIGHT = -10_000.0
"""Added to scores of tokens outside the window: zero after softmax, and a number in float16 too."""


@dataclass(frozen=True)
class ModernBertLayers:
    """Writes embeddings and layers into a graph; norms come before attention and feed-forward."""

    shape: ModernBertShape

    def embed(self, graph: GraphBuilder, positions: str) -> States:  # noqa: ARG002 - they turn queries and keys instead
        words = graph.op("Gather", [graph.weight("embeddings.words"), "input_ids"])
        normed = graph.op(
            "LayerNormalization", [words, graph.weight("embeddings.norm.weight")], epsilon=self.shape.layer_norm_epsilon
        )
        return States(normed, normed)

    def attend(
        self, graph: GraphBuilder, layer: int, states: States, sight: Sight, *, past: Past | None, keeps: bool
    ) -> str:
        packed = graph.op("MatMul", [states.normed, graph.weight(f"layer.{layer}.qkv.weight")])
        query = graph.op("Split", [packed], n_outputs=3, axis=2)
        reach = "global" if self.shape.is_global(layer) else "local"
        turned = [self._turn(graph, name, sight.positions, reach) for name in (query, f"{query}.1")]
        window = "" if self.shape.is_global(layer) else graph.once("window", lambda: self._window(graph, sight))
        remembered = [past.keys, past.values] if past else []
        return graph.op(
            "MultiHeadAttention",
            [*turned, f"{query}.2", "", sight.mask, window, *remembered],
            domain=MICROSOFT,
            n_outputs=3 if past or keeps else 1,
            num_heads=self.shape.n_heads,
        )

    def finish_layer(self, graph: GraphBuilder, layer: int, states: States, attended: str) -> States:
        """Residual and norm, gated feed-forward, residual and the norm that the next layer begins with."""
        name = f"layer.{layer}"
        is_last = layer == self.shape.n_layers - 1
        projected = graph.op("MatMul", [attended, graph.weight(f"{name}.attention_out.weight")])
        middle = self._skip_norm(graph, projected, states.residual, f"{name}.outer_norm")
        both = graph.op("MatMul", [middle.normed, graph.weight(f"{name}.inner.weight")])
        inner = graph.op("Split", [both], n_outputs=2, axis=2)
        gated = graph.op("Mul", [graph.op("Gelu", [inner], domain=MICROSOFT), f"{inner}.1"])
        outer = graph.op("MatMul", [gated, graph.weight(f"{name}.outer.weight")])
        following = "final_norm" if is_last else f"layer.{layer + 1}.attention_norm"
        return self._skip_norm(graph, outer, middle.residual, following)

    def _skip_norm(self, graph: GraphBuilder, new: str, residual: str, norm: str) -> States:
        """Add and normalise; the fourth output is the sum."""
        found = graph.op_with(
            "SkipLayerNormalization",
            [new, residual, graph.weight(f"{norm}.weight")],
            (3,),
            domain=MICROSOFT,
            epsilon=self.shape.layer_norm_epsilon,
        )
        return States(found, f"{found}.3")

    def _turn(self, graph: GraphBuilder, states: str, positions: str, reach: str) -> str:
        return graph.op(
            "RotaryEmbedding",
            [states, positions, graph.weight(f"rotary.{reach}.cos"), graph.weight(f"rotary.{reach}.sin")],
            domain=MICROSOFT,
            num_heads=self.shape.n_heads,
        )

    def _window(self, graph: GraphBuilder, sight: Sight) -> str:
        """Score bias (B, 1, T, S) of local layers: zero where positions are at most half a window apart."""
        seen = sight.positions
        if sight.earlier_mask is not None:
            seen = graph.op("Concat", [count_positions(graph, sight.earlier_mask), seen], axis=1)
        asks = graph.op("Unsqueeze", [sight.positions, graph.constant("axes_1_3", [1, 3])])
        asked = graph.op("Unsqueeze", [seen, graph.constant("axes_1_2", [1, 2])])
        distance = graph.op("Abs", [graph.op("Sub", [asks, asked])])
        is_far = graph.op("Greater", [distance, graph.constant("half_window", self.shape.window // 2)])
        far = graph.op("Cast", [is_far], to=TensorProto.FLOAT)
        return graph.op("Mul", [far, graph.constant("out_of_sight", _OUT_OF_SIGHT, np.float32)])
