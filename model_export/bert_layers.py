"""The layers of a BERT-family encoder in ONNX Runtime's fused operators."""

from dataclasses import dataclass

from onnx import TensorProto

from model_export.bert import BertShape
from model_export.graph_builder import MICROSOFT, GraphBuilder
from model_export.network import Past, Sight, States


@dataclass(frozen=True)
class BertLayers:
    """Writes embeddings and layers into a graph."""

    shape: BertShape

    def embed(self, graph: GraphBuilder, positions: str) -> States:
        """Token, position and segment embeddings with layer norm; segment 0 lies in the positions."""
        position_ids = graph.op("Cast", [positions], to=TensorProto.INT32)
        input_ids = graph.op("Cast", ["input_ids"], to=TensorProto.INT32)
        embedded = graph.op(
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
        return States(embedded, embedded)

    def attend(
        self, graph: GraphBuilder, layer: int, states: States, sight: Sight, *, past: Past | None, keeps: bool
    ) -> str:
        """Packed `Attention` where nothing is kept or remembered: it is the fastest, and takes no past on a CPU."""
        weight = graph.weight(f"layer.{layer}.qkv.weight")
        if past is None and not keeps:
            return graph.op(
                "Attention",
                [states.normed, weight, graph.weight(f"layer.{layer}.qkv.bias"), sight.mask],
                domain=MICROSOFT,
                num_heads=self.shape.n_heads,
            )
        packed = graph.op("MatMul", [states.normed, weight])
        first = graph.op("Split", [packed], n_outputs=3, axis=2)
        remembered = ["", past.keys, past.values] if past else []
        return graph.op(
            "MultiHeadAttention",
            [first, f"{first}.1", f"{first}.2", graph.weight(f"layer.{layer}.qkv.bias"), sight.mask, *remembered],
            domain=MICROSOFT,
            n_outputs=3,
            num_heads=self.shape.n_heads,
        )

    def finish_layer(self, graph: GraphBuilder, layer: int, states: States, attended: str) -> States:
        """Output projection, residual and norm, feed-forward, residual and norm."""
        name = f"layer.{layer}"
        projected = graph.op("MatMul", [attended, graph.weight(f"{name}.attention_out.weight")])
        middle = self._skip_norm(graph, projected, states.residual, f"{name}.attention_out", f"{name}.attention_norm")
        inner = graph.op("MatMul", [middle, graph.weight(f"{name}.inner.weight")])
        inner = graph.op("BiasGelu", [inner, graph.weight(f"{name}.inner.bias")], domain=MICROSOFT)
        outer = graph.op("MatMul", [inner, graph.weight(f"{name}.outer.weight")])
        found = self._skip_norm(graph, outer, middle, f"{name}.outer", f"{name}.outer_norm")
        return States(found, found)

    def _skip_norm(self, graph: GraphBuilder, new: str, residual: str, linear: str, norm: str) -> str:
        inputs = [new, residual, *map(graph.weight, (f"{norm}.weight", f"{norm}.bias", f"{linear}.bias"))]
        return graph.op("SkipLayerNormalization", inputs, domain=MICROSOFT, epsilon=self.shape.layer_norm_epsilon)
