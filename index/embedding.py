"""Embed a passage store in parts that survive an interruption: each part is written once, atomically."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from index.ivf import HalfArray
from index.store import PassageStore
from infembed.artefacts import remove_leftovers, write_atomically
from infembed.config import Config, parse_json
from infembed.encoder import Encoder
from infembed.errors import AlteredArtefactError

PART_ROWS = 1024
"""Passages of one part: an interruption loses at most this many; longer parts sort by length better."""
_STATE_FILE = "state.json"


class BuildState(Config):
    """What the parts of an unfinished build hold."""

    document_fingerprint: str
    source_sha256: str
    dim: int
    part_rows: int = PART_ROWS


class EmbeddedParts:
    """The parts of one build; the parts, and the store, of another model or source are thrown away."""

    def __init__(self, directory: Path, state: BuildState) -> None:
        self._directory = directory
        self._state = state
        if not self._is_same_build():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            write_atomically(directory / _STATE_FILE, state.model_dump_json().encode())
        remove_leftovers(directory)

    def embed(self, store: PassageStore, encoder: Encoder, *, on_embedded: Callable[[int], None]) -> HalfArray:
        """Embed what is missing and return all vectors, (N, D) in row order; `on_embedded` gets row counts."""
        rows = store.rows()
        on_embedded(self.n_finished(len(rows)))
        for number, part_rows in _parts(rows, self._state.part_rows):
            if not self._is_complete(number, len(part_rows)):
                vectors = encoder.encode_documents(store.texts_between(part_rows[0], part_rows[-1])).astype("<f2")
                write_atomically(self._path(number), vectors.tobytes())
                on_embedded(len(part_rows))
        return self._join(len(rows))

    def n_finished(self, n_rows: int) -> int:
        """Return how many of the rows have been embedded by an earlier, interrupted run."""
        parts = _parts(range(n_rows), self._state.part_rows)
        return sum(len(rows) for number, rows in parts if self._is_complete(number, len(rows)))

    def remove(self) -> None:
        """Delete the parts once a generation holds them."""
        shutil.rmtree(self._directory)

    def _is_same_build(self) -> bool:
        path = self._directory / _STATE_FILE
        try:
            return path.is_file() and parse_json(BuildState, path) == self._state
        except AlteredArtefactError:
            return False

    def _is_complete(self, number: int, n_rows: int) -> bool:
        path = self._path(number)
        return path.is_file() and path.stat().st_size == n_rows * self._state.dim * 2

    def _join(self, n_rows: int) -> HalfArray:
        vectors = np.empty((n_rows, self._state.dim), dtype="<f2")
        for number, part in _parts(range(n_rows), self._state.part_rows):
            data = np.fromfile(self._path(number), dtype="<f2")
            vectors[part[0] : part[-1] + 1] = data.reshape(len(part), self._state.dim)
        return vectors

    def _path(self, number: int) -> Path:
        return self._directory / f"part-{number:06d}.f16"


def _parts(rows: Sequence[int], size: int) -> Iterator[tuple[int, Sequence[int]]]:
    for number, start in enumerate(range(0, len(rows), size)):
        yield number, rows[start : start + size]
