"""What the graphs need of a family of encoders; one module a family implements it."""

from typing import NamedTuple, Protocol

from model_export.graph_builder import GraphBuilder


class States(NamedTuple):
    """Token states (B, T, D) between layers: what the next layer reads, and what its output is added to."""

    normed: str
    residual: str


class Sight(NamedTuple):
    """What tokens see, and where they stand; `earlier_mask` is None where no instruction comes before them."""

    mask: str
    """(B, S) int32, ones for the instruction's tokens and then the text's own that count."""
    positions: str
    """(B, T) int64"""
    earlier_mask: str | None = None
    """(B, I) int64, the instruction's part of the mask."""


def count_positions(graph: GraphBuilder, mask: str) -> str:
    """Count real tokens from 0; (B, T) int64."""
    zero, one = graph.constant("zero", 0), graph.constant("one", 1)
    counted = graph.op("CumSum", [mask, one])
    return graph.op("Max", [graph.op("Sub", [counted, one]), zero])


class Past(NamedTuple):
    """An instruction's keys and values in one layer, (B, H, I, D / H)."""

    keys: str
    values: str


class Network(Protocol):
    """An encoder in the pieces that the three graphs are put together from."""

    def embed(self, graph: GraphBuilder, positions: str) -> States: ...

    def attend(
        self, graph: GraphBuilder, layer: int, states: States, sight: Sight, *, past: Past | None, keeps: bool
    ) -> str:
        """Attend in one layer; with `keeps` the further outputs `.1` and `.2` are keys and values (B, H, S, D / H)."""
        ...

    def finish_layer(self, graph: GraphBuilder, layer: int, states: States, attended: str) -> States:
        """Run what follows a layer's attention; after the last layer `normed` is what is pooled."""
        ...
