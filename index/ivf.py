"""FAISS indexes over unit vectors: sizing, training, tuning and searching (inner product = cosine).

Row numbers are positions 0..n-1 of the generation; `ids.i64` maps them to the passage store's row ids.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from index.generation import REMEDY
from infembed.errors import AlteredArtefactError, StorageError
from infembed.vectors import FloatArray, IntArray

HalfArray = npt.NDArray[np.float16]

TRAINING_POINTS_PER_LIST = 39
"""FAISS asks for at least this many training points a centroid."""
SAMPLED_POINTS_PER_LIST = 128
SMALLEST_IVF_LISTS = 4
"""Below this many lists (156 passages) an inverted file is slower than looking at everything."""
RECALL_TARGET = 0.985
_SEED = 20260101
_ADD_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Best documents of each query: `scores` and `positions` (B, k), positions -1 where there are none."""

    scores: FloatArray
    positions: IntArray


def n_lists(n_documents: int) -> int:
    """Size the inverted file: the power of two nearest 4 sqrt(N), at most N / 39; 0 means flat."""
    if n_documents < TRAINING_POINTS_PER_LIST * SMALLEST_IVF_LISTS:
        return 0
    wanted = 2 ** round(np.log2(4 * np.sqrt(n_documents)))
    affordable = 2 ** int(np.log2(n_documents / TRAINING_POINTS_PER_LIST))
    return int(min(wanted, affordable))


def build(vectors: HalfArray, *, on_added: Callable[[int], None] = lambda _: None) -> faiss.Index:
    """Train and fill an index over (N, D) unit vectors; deterministic for the same vectors and FAISS version."""
    n, dim = vectors.shape
    lists = n_lists(n)
    factory = f"IVF{lists},SQfp16" if lists else "SQfp16"
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    if lists:
        index.by_residual = False  # the vectors are fp16 already: store them as they are
        index.cp.seed = _SEED
        index.cp.max_points_per_centroid = SAMPLED_POINTS_PER_LIST
        index.cp.spherical = True
    rng = np.random.default_rng(_SEED)
    n_training = min(n, max(lists, 1) * SAMPLED_POINTS_PER_LIST)
    sample = np.sort(rng.choice(n, n_training, replace=False))
    index.train(vectors[sample].astype(np.float32))
    for start in range(0, n, _ADD_ROWS):
        part = vectors[start : start + _ADD_ROWS].astype(np.float32)
        index.add(part)
        on_added(len(part))
    return index


def search(index: faiss.Index, queries: FloatArray, *, k: int, nprobe: int) -> Neighbours:
    """Find the k nearest documents of each query; probes more lists rather than return fewer than exist."""
    k = min(k, index.ntotal)
    if not isinstance(index, faiss.IndexIVF):
        return Neighbours(*index.search(queries, k))
    while True:
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        found = Neighbours(*index.search(queries, k, params=parameters))
        if nprobe >= index.nlist or not (found.positions < 0).any():
            return found
        nprobe = min(index.nlist, nprobe * 4)


def exact_search(vectors: HalfArray, queries: FloatArray, *, k: int) -> IntArray:
    """Score every document; the oracle for recall. Returns positions (B, k), best first."""
    k = min(k, len(vectors))
    best_scores = np.full((len(queries), 0), 0, dtype=np.float32)
    best = np.full((len(queries), 0), 0, dtype=np.int64)
    for start in range(0, len(vectors), _ADD_ROWS):
        scores = queries @ vectors[start : start + _ADD_ROWS].astype(np.float32).T
        positions = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
        all_scores = np.concatenate([best_scores, scores], axis=1)
        all_positions = np.concatenate([best, positions], axis=1)
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
        best_scores = np.take_along_axis(all_scores, order, axis=1)
        best = np.take_along_axis(all_positions, order, axis=1)
    return best


def recall_of(found: IntArray, exact: IntArray) -> float:
    """Share of the exact neighbours that were found; (B, k) each."""
    hits = [len(set(f) & set(e)) for f, e in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(hits) / exact.size


def tune_nprobe(index: faiss.Index, vectors: HalfArray, queries: FloatArray, *, k: int = 10) -> int:
    """Return the fewest probed lists whose recall@k on `queries` reaches the target: time grows with them."""
    if not isinstance(index, faiss.IndexIVF):
        return 1
    exact = exact_search(vectors, queries, k=k)

    def is_enough(nprobe: int) -> bool:
        return recall_of(search(index, queries, k=k, nprobe=nprobe).positions, exact) >= RECALL_TARGET

    doubled = next((n for n in _powers_of_two(index.nlist) if is_enough(n)), index.nlist)
    return bisect_left(range(doubled), True, lo=doubled // 2 + 1, key=is_enough)


def _powers_of_two(limit: int) -> Iterator[int]:
    n = 1
    while n < limit:
        yield n
        n *= 2


def write(index: faiss.Index, path: Path) -> None:
    """Write an index file."""
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # FAISS knows no other; only the file system can fail here
        raise StorageError(f"cannot write {path}: {error}; free some space or choose another place") from error


def read(path: Path) -> faiss.Index:
    """Read an index file whose digest was checked; bounds what a hostile file may allocate."""
    faiss.set_deserialization_vector_byte_limit(path.stat().st_size * 2)
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise AlteredArtefactError(f"{path} is not a readable FAISS index: {error}; {REMEDY}") from error
    if not isinstance(index, faiss.IndexIVFScalarQuantizer | faiss.IndexScalarQuantizer):
        kind = type(index).__name__
        raise AlteredArtefactError(f"{path} holds a {kind}, which this release does not write; {REMEDY}")
    return index
