"""Encode queries and documents with a bundle through ONNX Runtime."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from infembed.bundle import REMEDY, Bundle, Precision
from infembed.cpu import available_cpus
from infembed.errors import AlteredArtefactError
from infembed.execution import Footprint, Provider
from infembed.inputs import InputType, TextInput
from infembed.loading import LoadedGraphs, load_graphs
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import FloatArray, IntArray, normalize, require_finite

OFFLINE_BATCH_TOKENS = 4096
TokenIds = tuple[int, ...]
StatesOf = Callable[[Iterable[TokenIds]], Mapping[TokenIds, FloatArray]]
_RUN_TOKENS_PER_THREAD = 512
"""Padded tokens of one run on the processor, for each thread. More is no faster and takes memory in proportion."""


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
    """A loaded bundle. `encode` runs one batch; `encode_texts` makes the batches.

    On the processor, `n_runs` batches may be encoded side by side, from as many threads. A second set of sessions is
    there for them, which share the threads out: in one run on all threads each step waits for the thread that other
    work has held up, so that several runs do more. A batch that is alone has all threads.

    `encode_instructions` and `encode_queries_with` are the two steps of a query with an instruction, for callers that
    keep instruction states.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision = Precision.FP32,
        n_threads: int | None = None,
        max_batch_tokens: int = OFFLINE_BATCH_TOKENS,
        provider: Provider = Provider.CPU,
        footprint: Footprint = Footprint.FAST,
        n_runs: int = 1,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.tokenizer = BundleTokenizer.open(bundle)
        self._max_batch_tokens = max_batch_tokens
        n_threads = n_threads or available_cpus()
        self.n_runs = 1 if provider.on_gpu else n_runs
        load = partial(load_graphs, bundle, precision, provider=provider, footprint=footprint)
        graphs = load(n_threads=n_threads)
        self._alone = _Runs(graphs, sys.maxsize if provider.on_gpu else _RUN_TOKENS_PER_THREAD * n_threads)
        self._beside = self._alone
        if self.n_runs > 1:
            share = max(1, n_threads // n_runs)
            self._beside = _Runs(load(n_threads=share, beside=graphs), _RUN_TOKENS_PER_THREAD * share)
        self._require_working_graphs()
        graphs.release()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        precision: Precision = Precision.FP32,
        n_threads: int | None = None,
        provider: Provider = Provider.CPU,
        footprint: Footprint = Footprint.FAST,
    ) -> "OnnxEncoder":
        """Verify and load the bundle at `path`."""
        return cls(Bundle.open(path), precision=precision, n_threads=n_threads, provider=provider, footprint=footprint)

    @property
    def most_run_tokens(self) -> int:
        """Padded tokens that a batch takes in one run; more are split."""
        return self._beside.most_tokens

    @property
    def dim(self) -> int:
        return self.bundle.manifest.dim

    @property
    def document_fingerprint(self) -> str:
        return self.bundle.manifest.document_fingerprint

    def encode(
        self, items: Sequence[TokenizedInput], *, states_of: StatesOf | None = None, is_alone: bool = True
    ) -> FloatArray:
        """Encode one batch; (B, D) float32 in order, pooled but not normalised.

        Queries and documents may be mixed, and so may queries with different instructions or none. `states_of` gives
        the states of their instructions in the place of `encode_instructions`: it may remember them. `is_alone` says
        that no other batch is being encoded.
        """
        runs = self._alone if is_alone else self._beside
        result = np.empty((len(items), self.dim), dtype=np.float32)
        queries = [row for row, item in enumerate(items) if self._is_query(item)]
        plain = [row for row, item in enumerate(items) if not self._is_query(item)]
        if queries:
            result[queries] = self._encode_queries(runs, [items[row] for row in queries], states_of)
        if plain:
            result[plain] = runs.plain([items[row] for row in plain])
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

    def encode_instructions(self, instructions: Iterable[TokenIds]) -> dict[TokenIds, FloatArray]:
        """Compute what queries need of their instructions: each one's states, tokens on the last axis but one.

        `prefix` gives keys and values of every layer, (L, 2, H, I, D / H), `attention` token states, (I, D). Equal
        instructions are computed once; the empty one, "no instruction", needs none and is left out.
        """
        unique = [ids for ids in dict.fromkeys(instructions) if ids]
        states = {}
        for rows in plan_batches([len(ids) for ids in unique], max_batch_tokens=self._alone.most_tokens):
            batch = self._alone.graphs.instruction.run(_tokens([unique[row] for row in rows]))
            for row, state in zip(rows, batch, strict=True):
                states[unique[row]] = state[..., : len(unique[row]), :].copy()
        return states

    def encode_queries_with(
        self, states: Mapping[TokenIds, FloatArray], queries: Sequence[TokenizedInput]
    ) -> FloatArray:
        """Encode one batch of queries whose instructions have been encoded; (B, D) in order, not normalised.

        Queries without instruction may be among them.
        """
        if not queries:
            return np.empty((0, self.dim), dtype=np.float32)
        return self._alone.instructed(states, queries)

    def _require_working_graphs(self) -> None:
        """Encode the tokenizer's last token on each path: files that do not fit together are refused here."""
        last = (self.tokenizer.last_id,)
        document = TokenizedInput(InputType.DOCUMENT, ids=last)
        query = TokenizedInput(InputType.QUERY, ids=last, instruction_ids=last)
        for item in (document, query):
            try:
                is_query = self._is_query(item)
                dim = (self._encode_queries(self._alone, [item]) if is_query else self._alone.plain([item])).shape[1]
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                raise AlteredArtefactError(f"the graphs of {self.bundle.path} do not run: {error}; {REMEDY}") from error
            if dim != self.dim:
                raise AlteredArtefactError(
                    f"{self.bundle.path}: the {item.input_type} graph gives {dim} dimensions, the manifest records "
                    f"{self.dim}; {REMEDY}"
                )

    def _is_query(self, item: TokenizedInput) -> bool:
        """Whether the query's graph is needed; a plain query may be the same to the model as a document."""
        is_plain = self.bundle.manifest.tower.reads_plain_queries_as_documents and not item.instruction_ids
        return item.input_type is InputType.QUERY and not is_plain

    def _encode_queries(
        self, runs: "_Runs", items: Sequence[TokenizedInput], states_of: StatesOf | None = None
    ) -> FloatArray:
        if not runs.graphs.has_states:
            return runs.joined(items)
        states = (states_of or self.encode_instructions)(item.instruction_ids for item in items)
        return runs.instructed(states, items)


class _Runs(NamedTuple):
    """Sessions, and how many padded tokens one of their runs takes; (B, D) in the order of the inputs."""

    graphs: LoadedGraphs
    most_tokens: int

    def plain(self, items: Sequence[TokenizedInput]) -> FloatArray:
        """Encode documents, and queries that the model reads as such."""
        return self._in_parts(self._run_plain, items)

    def joined(self, items: Sequence[TokenizedInput]) -> FloatArray:
        """Encode queries whose instruction is part of their text."""
        return self._in_parts(lambda some: self.graphs.query.run(_tokens([item.ids for item in some])), items)

    def instructed(self, states: Mapping[TokenIds, FloatArray], queries: Sequence[TokenizedInput]) -> FloatArray:
        """Encode queries after the states of their instructions."""
        return self._in_parts(lambda some: self._run_instructed(states, some), queries)

    def _in_parts(
        self, run: Callable[[Sequence[TokenizedInput]], FloatArray], items: Sequence[TokenizedInput]
    ) -> FloatArray:
        """Run a batch in parts of similar length that fit the processor."""
        parts = list(plan_batches([len(item.ids) for item in items], max_batch_tokens=self.most_tokens))
        vectors = np.concatenate([run([items[row] for row in rows]) for rows in parts])
        result = np.empty_like(vectors)
        result[np.concatenate(parts)] = vectors
        return result

    def _run_plain(self, items: Sequence[TokenizedInput]) -> FloatArray:
        feeds = _tokens([item.ids for item in items])
        if self.graphs.query_reads_documents:
            feeds |= self.graphs.after([None])
            feeds["instruction_index"] = np.zeros(len(items), dtype=np.int64)
        return self.graphs.document.run(feeds)

    def _run_instructed(self, states: Mapping[TokenIds, FloatArray], queries: Sequence[TokenizedInput]) -> FloatArray:
        unique = list(dict.fromkeys(query.instruction_ids for query in queries))
        row_of = {instruction: row for row, instruction in enumerate(unique)}
        feeds = _tokens([query.ids for query in queries])
        feeds |= self.graphs.after([states[instruction] if instruction else None for instruction in unique])
        feeds["instruction_index"] = np.array([row_of[query.instruction_ids] for query in queries], dtype=np.int64)
        return self.graphs.query.run(feeds)


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
