"""The graphs of a bundle as sessions; on the processor, how much memory buys how much speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infembed.bundle import REMEDY, Bundle, GraphName, Precision
from infembed.config import shown
from infembed.errors import AlteredArtefactError
from infembed.execution import Footprint, Provider
from infembed.graph_safety import external_places
from infembed.graphs import BoundGraph, Graph, PlainGraph
from infembed.sessions import open_session, session_options
from infembed.vectors import FloatArray
from infembed.weightfile import LAYOUT_FILE, SharedWeights, map_weights, read_layout

_STATE, _MASK = "instruction_state", "instruction_mask"
_VECTOR_LENGTH = 16
"""Instructions of int8 graphs are padded to whole vectors of ONNX Runtime's softmax.

The query's tokens come after the instruction's padding, and a sum in another order differs in the last bit. Float32
hardly notices, but that bit can move a value to the next 8-bit step; aligned, alone and batched are equal.
"""


@dataclass(frozen=True, slots=True)
class LoadedGraphs:
    """The graphs of one precision; `weights` must live as long as they do."""

    graphs: dict[GraphName, Graph]
    weights: SharedWeights | None
    aligned_to: int = 1

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

    def release(self) -> None:
        """Give back the pages of the weight file that loading and trying out have read."""
        if self.weights is not None:
            self.weights.release()

    def after(self, states: Sequence[FloatArray | None]) -> dict[str, npt.NDArray[Any]]:
        """Pad instruction states of different lengths into one batch, (U, ..., I, ·), with its mask, (U, I).

        None is "no instruction".
        """
        lengths = [0 if state is None else state.shape[-2] for state in states]
        shape = list(self.query.inputs[_STATE])
        shape[0], shape[-2] = len(states), -(-max(1, *lengths) // self.aligned_to) * self.aligned_to
        batch = np.zeros(shape, dtype=np.float32)
        mask = np.zeros((len(states), shape[-2]), dtype=np.int64)
        for row, (state, length) in enumerate(zip(states, lengths, strict=True)):
            if state is not None:
                batch[row, ..., :length, :] = state
                mask[row, :length] = 1
        return {_STATE: batch, _MASK: mask}


def load_graphs(
    bundle: Bundle,
    precision: Precision,
    *,
    provider: Provider,
    footprint: Footprint,
    n_threads: int,
    beside: LoadedGraphs | None = None,
) -> LoadedGraphs:
    """Open the sessions of a bundle; `footprint` and `n_threads` concern the processor alone.

    Graphs that were loaded before, with other threads, share their weights and their instruction graph.
    """
    if provider.on_gpu:
        return _on_gpu(bundle, precision, provider)
    weights = beside.weights if beside is not None and beside.weights else map_weights(bundle.folder(precision))
    graphs: dict[GraphName, Graph] = {}
    for name in sessions_to_open(bundle, footprint):
        if beside is not None and name is GraphName.INSTRUCTION:
            graphs[name] = beside.instruction
            continue
        _require_layout(bundle.graph_path(name, precision))
        packs = footprint is Footprint.FAST or name is not GraphName.INSTRUCTION
        options = session_options(n_threads, initializers=weights.initializers, packs_matrices=packs)
        graphs[name] = PlainGraph(open_session(bundle.graph_path(name, precision), options), weights=weights)
    return LoadedGraphs(graphs, weights, aligned_to=_VECTOR_LENGTH if precision is Precision.INT8 else 1)


def _require_layout(graph: Path) -> None:
    """Check that the layout puts a graph's weights where the graph does: the layout's would be used, unasked."""
    stored = {tensor.name: tensor for tensor in read_layout(graph.parent)}
    for name, place in external_places(graph).items():
        tensor = stored.get(name)
        if tensor is None or (tensor.file, tensor.offset, tensor.size_bytes, tensor.shape) != place:
            raise AlteredArtefactError(
                f"{graph.parent / LAYOUT_FILE} has another place or shape for tensor {shown(name)} than {graph.name}; "
                f"{REMEDY}"
            )


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
