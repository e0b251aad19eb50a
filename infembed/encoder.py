"""Encode queries and documents with a bundle through ONNX Runtime.

Sessions of one bundle share its weights: `weights.bin` is mapped into memory once and handed to every session as
its initializers. ONNX Runtime still keeps its own packed copy of the matrices each session multiplies by.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from infembed.bundle import REMEDY, Bundle, GraphName, Precision
from infembed.cpu import available_cpus, has_vnni
from infembed.errors import AlteredArtefactError
from infembed.inputs import InputType, TextInput
from infembed.onnx_runtime import ort
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import FloatArray, IntArray, normalize, require_finite
from infembed.weightfile import shared_initializers

OFFLINE_BATCH_TOKENS = 4096
_VECTOR_LENGTH = 16
_SLOWER_ON_CPU = ["SkipLayerNormFusion"]
"""Rewrites of ONNX Runtime that make int8 graphs slower (docs/experiments.md, Precisions)."""


class Encoder(Protocol):
    """Turns texts into unit vectors; what index building and evaluation need of a model."""

    @property
    def dim(self) -> int: ...

    @property
    def document_fingerprint(self) -> str: ...

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return (N, D) unit vectors in the order of the texts."""
        ...

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        """Return (B, D) unit vectors in the order of the queries."""
        ...


class OnnxEncoder:
    """A loaded bundle. `encode` runs one batch; `encode_texts` makes the batches."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision = Precision.FP32,
        n_threads: int | None = None,
        max_batch_tokens: int = OFFLINE_BATCH_TOKENS,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.tokenizer = BundleTokenizer.open(bundle)
        self._max_batch_tokens = max_batch_tokens
        paths = {graph: bundle.graph_path(graph, precision) for graph in bundle.graphs_to_load}
        self._initializers = shared_initializers(bundle.path / precision)
        options = _session_options(n_threads or available_cpus())
        for name, value in self._initializers.items():
            options.add_initializer(name, value)
        sessions = {graph: _session(path, options) for graph, path in paths.items()}
        self._document = sessions[GraphName.DOCUMENT]
        self._query = sessions.get(GraphName.QUERY, self._document)
        self._instruction = sessions.get(GraphName.INSTRUCTION)
        self._require_working_graphs()

    @classmethod
    def open(cls, path: Path, *, precision: Precision = Precision.FP32, n_threads: int | None = None) -> "OnnxEncoder":
        """Verify and load the bundle at `path`."""
        return cls(Bundle.open(path), precision=precision, n_threads=n_threads)

    @property
    def dim(self) -> int:
        return self.bundle.manifest.dim

    @property
    def document_fingerprint(self) -> str:
        return self.bundle.manifest.document_fingerprint

    def encode(self, items: Sequence[TokenizedInput]) -> FloatArray:
        """Encode one batch; (B, D) float32 in order, pooled but not normalised.

        Queries and documents may be mixed, and so may queries with different instructions or none.
        """
        result = np.empty((len(items), self.dim), dtype=np.float32)
        runs: dict[Callable[[Sequence[TokenizedInput]], FloatArray], list[int]] = {}
        for row, item in enumerate(items):
            runs.setdefault(self._path_of(item), []).append(row)
        for run, rows in runs.items():
            result[rows] = run([items[row] for row in rows])
        return result

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self.encode_texts([TextInput(text) for text in texts])

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self.encode_texts(queries)

    def encode_texts(self, items: Sequence[TextInput]) -> FloatArray:
        """Encode any number of inputs in batches of similar length; (N, D) finite unit vectors in order."""
        tokenized = self.tokenizer.tokenize(items)
        result = np.empty((len(tokenized), self.dim), dtype=np.float32)
        for rows in plan_batches([item.n_tokens for item in tokenized], max_batch_tokens=self._max_batch_tokens):
            result[rows] = self.encode([tokenized[row] for row in rows])
        return normalize(require_finite(result))

    def _require_working_graphs(self) -> None:
        """Encode one token on each path: files that do not fit together are refused here, not at a request."""
        document = TokenizedInput(InputType.DOCUMENT, ids=(0,))
        query = TokenizedInput(InputType.QUERY, ids=(0,), instruction_ids=(0,))
        for item in (document, query):
            try:
                dim = self._path_of(item)([item]).shape[1]
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                raise AlteredArtefactError(f"the graphs of {self.bundle.path} do not run: {error}; {REMEDY}") from error
            if dim != self.dim:
                raise AlteredArtefactError(
                    f"{self.bundle.path}: the {item.input_type} graph gives {dim} dimensions, the manifest records "
                    f"{self.dim}; {REMEDY}"
                )

    def _path_of(self, item: TokenizedInput) -> Callable[[Sequence[TokenizedInput]], FloatArray]:
        """Choose the graph."""
        is_plain = self.bundle.manifest.tower.reads_plain_queries_as_documents and not item.instruction_ids
        if item.input_type is InputType.DOCUMENT or is_plain:
            return self._encode_with_document_graph
        return self._encode_with_query_graph

    def _encode_with_document_graph(self, items: Sequence[TokenizedInput]) -> FloatArray:
        return _embed(self._document, _tokens([item.ids for item in items]))

    def _encode_with_query_graph(self, items: Sequence[TokenizedInput]) -> FloatArray:
        feeds = _tokens([item.ids for item in items])
        if self._instruction is not None:
            unique = list(dict.fromkeys(item.instruction_ids for item in items))
            index = {instruction: row for row, instruction in enumerate(unique)}
            instructions = _tokens(unique)
            (state,) = self._instruction.run(["instruction_state"], instructions)
            mask = instructions["attention_mask"]
            if self.precision is Precision.INT8:
                state, mask = _align(state, axis=-2), _align(mask, axis=-1)
            feeds["instruction_state"], feeds["instruction_mask"] = state, mask
            feeds["instruction_index"] = np.array([index[item.instruction_ids] for item in items], dtype=np.int64)
        return _embed(self._query, feeds)


def plan_batches(lengths: Sequence[int], *, max_batch_tokens: int) -> Iterator[list[int]]:
    """Group input numbers, longest first, so that rows x longest row stays within `max_batch_tokens`.

    An input longer than the budget gets a batch of its own.
    """
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def pad(rows: Sequence[Sequence[int]]) -> tuple[IntArray, IntArray]:
    """Right-pad token ids with zeros; returns ids and mask, both (B, T) with T at least 1."""
    width = max(1, *map(len, rows))
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def _tokens(rows: Sequence[Sequence[int]]) -> dict[str, npt.NDArray[Any]]:
    ids, mask = pad(rows)
    return {"input_ids": ids, "attention_mask": mask}


def _align(array: npt.NDArray[Any], *, axis: int) -> npt.NDArray[Any]:
    """Pad instructions with zeros to whole vectors of ONNX Runtime's softmax.

    The query's tokens come after the instruction's padding, and a sum in another order differs in the last bit. Float32
    hardly notices, but that bit can move a value to the next 8-bit step; aligned, alone and batched are equal.
    """
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % _VECTOR_LENGTH)
    return np.pad(array, widths)


def _embed(session: ort.InferenceSession, feeds: Mapping[str, npt.NDArray[Any]]) -> FloatArray:
    (embeddings,) = session.run(["embedding"], dict(feeds))
    return np.asarray(embeddings, dtype=np.float32)


def _session_options(n_threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without VNNI the fast sum of 8-bit products overflows; the option takes an exact one, which halves the speed.
    options.add_session_config_entry("session.x64quantprecision", "0" if has_vnni() else "1")
    return options


def _session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER_ON_CPU
        )
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise AlteredArtefactError(f"ONNX Runtime cannot load {path}: {error}; {REMEDY}") from error
