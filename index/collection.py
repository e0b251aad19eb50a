"""A collection open for searching: one verified generation and its passages."""

from pathlib import Path
from typing import NamedTuple, Self

import faiss
import numpy as np

from index import generation, ivf
from index.generation import REMEDY, Generation, GenerationManifest
from index.metadata import Metadata
from index.store import PassageStore
from infembed.errors import AlteredArtefactError
from infembed.vectors import FloatArray, IntArray

_SMALL_BATCH = 32


class Hit(NamedTuple):
    """A document as one query found it; `score` is the cosine similarity."""

    id: str
    score: float
    text: str
    metadata: Metadata


class Collection:
    """Answers searches from any thread; immutable, so a rebuilt index is a new Collection."""

    def __init__(self, path: Path, found: Generation, index: faiss.Index, rows: IntArray, store: PassageStore) -> None:
        self._path = path
        self._generation = found
        self._index = index
        self._rows = rows
        self._store = store

    @classmethod
    def open(cls, path: Path, *, document_fingerprint: str) -> Self:
        """Verify and load the current generation of the collection at `path`."""
        found = generation.open_current(path, document_fingerprint=document_fingerprint)
        index = ivf.read(found.path / generation.INDEX_FILE)
        rows = np.fromfile(found.path / generation.IDS_FILE, dtype="<i8")
        store = PassageStore.open(found.path / generation.STORE_FILE)
        try:
            _require_agreement(found, index, rows, store)
        except BaseException:
            store.close()
            raise
        return cls(path, found, index, rows, store)

    @property
    def name(self) -> str:
        return self._path.resolve().name

    @property
    def n_documents(self) -> int:
        return self._generation.manifest.n_documents

    @property
    def dim(self) -> int:
        return self._generation.manifest.dim

    @property
    def generation(self) -> str:
        return self._generation.name

    @property
    def manifest(self) -> GenerationManifest:
        """What the generation holds and what made it."""
        return self._generation.manifest

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self._generation.manifest.files)

    @property
    def built_at(self) -> str:
        return self._generation.manifest.created_at

    def search(self, vectors: FloatArray, *, k: int, offset: int = 0, nprobe: int | None = None) -> list[list[Hit]]:
        """Return the documents ranked offset+1 .. offset+k for each query vector (B, D), best first."""
        if len(vectors) <= _SMALL_BATCH:
            faiss.omp_set_num_threads(1)  # more threads cost more than they bring, and take cores from the encoder
        probed = nprobe or self._generation.manifest.nprobe
        found = ivf.search(self._index, np.ascontiguousarray(vectors), k=k + offset, nprobe=probed)
        return [
            self._hits(scores[offset:], positions[offset:])
            for scores, positions in zip(found.scores, found.positions, strict=True)
        ]

    def close(self) -> None:
        """Close the passage store; a search whose caller has gone may still be reading, and is waited for."""
        self._store.close()

    def _hits(self, scores: FloatArray, positions: IntArray) -> list[Hit]:
        real = positions >= 0
        rows = [int(row) for row in self._rows[positions[real]]]
        passages = self._store.get(rows)
        return [
            Hit(passages[row].id, float(score), passages[row].text, passages[row].metadata)
            for row, score in zip(rows, scores[real], strict=True)
        ]


def _require_agreement(found: Generation, index: faiss.Index, rows: IntArray, store: PassageStore) -> None:
    n_documents, dim = found.manifest.n_documents, found.manifest.dim
    counts = {
        generation.INDEX_FILE: index.ntotal,
        generation.IDS_FILE: len(rows),
        generation.STORE_FILE: store.count(),
    }
    for name, count in counts.items():
        if count != n_documents:
            raise AlteredArtefactError(
                f"{found.path / name} holds {count} documents, the manifest records {n_documents}; {REMEDY}"
            )
    if index.d != dim:
        raise AlteredArtefactError(
            f"{found.path / generation.INDEX_FILE} has dim {index.d}, the manifest records {dim}; {REMEDY}"
        )
