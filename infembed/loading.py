"""The graphs of a bundle as sessions; on the processor, how much memory buys how much speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infembed.bundle import Bundle, GraphName, Precision
from infembed.execution import Footprint, Provider
from infembed.graphs import BoundGraph, Graph, PlainGraph
from infembed.sessions import open_session, session_options
from infembed.vectors import FloatArray
from infembed.weightfile import SharedWeights, map_weights

_STATE, _MASK = "instruction_state", "instruction_mask"


@dataclass(frozen=True, slots=True)
class LoadedGraphs:
    """The graphs of one precision; `weights` must live as long as they do."""

    graphs: dict[GraphName, Graph]
    weights: SharedWeights | None

    @property
    def document(self) -> Graph:
        return self.graphs.get(GraphName.DOCUMENT, self.query)

    @property
    def query(self) -> Graph:
        return self.graphs.get(GraphName.QUERY) or self.graphs[GraphName.DOCUMENT]

    @property
    def instruction(self) -> Graph:
        return self.graphs[GraphName.INSTRUCTION]

    @property
    def has_states(self) -> bool:
        """Whether an instruction is a step of its own; under `concat` it is part of the query's text."""
        return GraphName.INSTRUCTION in self.graphs

    @property
    def query_reads_documents(self) -> bool:
        return GraphName.DOCUMENT not in self.graphs

    def after(self, states: Sequence[FloatArray | None]) -> dict[str, npt.NDArray[Any]]:
        """Pad instruction states of different lengths into one batch, (U, ..., I, ·), with its mask, (U, I).

        None is "no instruction".
        """
        lengths = [0 if state is None else state.shape[-2] for state in states]
        shape = list(self.query.inputs[_STATE])
        shape[0], shape[-2] = len(states), max(1, *lengths)
        batch = np.zeros(shape, dtype=np.float32)
        mask = np.zeros((len(states), shape[-2]), dtype=np.int64)
        for row, (state, length) in enumerate(zip(states, lengths, strict=True)):
            if state is not None:
                batch[row, ..., :length, :] = state
                mask[row, :length] = 1
        return {_STATE: batch, _MASK: mask}


def load_graphs(
    bundle: Bundle, precision: Precision, *, provider: Provider, footprint: Footprint, n_threads: int
) -> LoadedGraphs:
    """Open the sessions of a bundle; `footprint` and `n_threads` concern the processor alone."""
    if provider.on_gpu:
        return _on_gpu(bundle, precision, provider)
    weights = map_weights(bundle.path / precision)
    graphs: dict[GraphName, Graph] = {}
    for name in sessions_to_open(bundle, footprint):
        packs = footprint is Footprint.FAST or name is not GraphName.INSTRUCTION
        options = session_options(n_threads, initializers=weights.initializers, packs_matrices=packs)
        graphs[name] = PlainGraph(open_session(bundle.graph_path(name, precision), options))
    weights.release()
    return LoadedGraphs(graphs, weights)


def sessions_to_open(bundle: Bundle, footprint: Footprint) -> list[GraphName]:
    """Leave the document graph out where the query graph without instruction stands in for it."""
    names = bundle.graphs_to_load
    query_reads_documents = GraphName.INSTRUCTION in names and bundle.manifest.tower.reads_plain_queries_as_documents
    if footprint is Footprint.SMALL and query_reads_documents:
        names.remove(GraphName.DOCUMENT)
    return names


def _on_gpu(bundle: Bundle, precision: Precision, provider: Provider) -> LoadedGraphs:
    """Load every graph with weights of its own in the device's memory, where a session cannot share the mapping."""
    graphs: dict[GraphName, Graph] = {}
    for name in bundle.graphs_to_load:
        path = bundle.graph_path(name, precision)
        session = open_session(path, session_options(1), provider=provider, cuda_graphs=True)
        graphs[name] = BoundGraph(session, device="cuda")
    return LoadedGraphs(graphs, None)
