"""A cache of vectors around any model: what was encoded once is read from disk the next time."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from infembed.artefacts import write_atomically
from infembed.bundle import Precision
from infembed.encoder import Encoder
from infembed.errors import BadArtefactError
from infembed.inputs import TextInput
from infembed.vectors import FloatArray, require_finite

OnEncoded = Callable[[int], None]
_CHUNK = 256
_SHA256_BYTES = 32
_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


class CachedEncoder:
    """Remembers vectors by a digest of the model and the texts; encodes the rest in chunks, longest first.

    Documents are filed under the document fingerprint: a model that only changed its query side encodes none again.
    A query that comes again within one run (without its instruction, say) is encoded once, with a directory or not.
    """

    def __init__(
        self,
        encoder: Encoder,
        digest: str,
        directory: Path | None,
        *,
        precision: Precision = Precision.FP32,
        on_encoded: OnEncoded = lambda _: None,
    ) -> None:
        self._encoder = encoder
        self._digest = digest
        # Neither digest nor document fingerprint knows the precision, and its vectors are others
        self._precision = () if precision is Precision.FP32 else (precision,)
        self._directory = directory
        self._on_encoded = on_encoded
        self._known: dict[TextInput, FloatArray] = {}

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def document_fingerprint(self) -> str:
        return self._encoder.document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        key = digest_of(["documents", *self._precision, self.document_fingerprint, *texts])
        return self._remembered(key, texts, texts, self._encoder.encode_documents)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        new = [query for query in dict.fromkeys(queries) if query not in self._known]
        if new:
            parts = [part for query in new for part in (query.text, query.instruction or "")]
            key = digest_of(["queries", *self._precision, self._digest, *parts])
            lengths = [q.text + (q.instruction or "") for q in new]
            vectors = self._remembered(key, new, lengths, self._encoder.encode_queries)
            self._known.update(zip(new, vectors, strict=True))
        self._on_encoded(len(queries) - len(new))
        return np.array([self._known[query] for query in queries], dtype=np.float32).reshape(-1, self.dim)

    def _remembered(
        self, key: str, items: Sequence[_Item], texts: Sequence[str], encode: Callable[[Sequence[_Item]], FloatArray]
    ) -> FloatArray:
        path = self._directory / f"{key}.vectors" if self._directory else None
        found = _read(path, shape=(len(items), self.dim)) if path is not None else None
        if found is not None:
            self._on_encoded(len(items))
            return found
        vectors = self._encode(items, texts, encode)
        if path is not None:
            _write(path, vectors)
        return vectors

    def _encode(
        self, items: Sequence[_Item], texts: Sequence[str], encode: Callable[[Sequence[_Item]], FloatArray]
    ) -> FloatArray:
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        order = sorted(range(len(items)), key=lambda number: -len(texts[number]))
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            found = encode([items[number] for number in chunk])
            if found.shape != (len(chunk), self.dim):
                raise BadArtefactError(
                    f"the model gave vectors of shape {found.shape} for {len(chunk)} texts, "
                    f"expected {(len(chunk), self.dim)}"
                )
            vectors[chunk] = require_finite(found)
            self._on_encoded(len(chunk))
        return vectors


def digest_of(parts: Sequence[str]) -> str:
    """Return the SHA-256 of some strings; where one ends and the next begins matters."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(path: Path, *, shape: tuple[int, int]) -> FloatArray | None:
    """Read a cached file; None where it is missing, or is not what was written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    recorded, payload = data[:_SHA256_BYTES], data[_SHA256_BYTES:]
    if len(payload) == shape[0] * shape[1] * 4 and hashlib.sha256(payload).digest() == recorded:
        vectors = np.frombuffer(payload, dtype="<f4").reshape(shape).astype(np.float32)
        if np.isfinite(vectors).all():
            return vectors
    _log.warning("%s is damaged and is encoded again", path)
    return None


def _write(path: Path, vectors: FloatArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = vectors.astype("<f4").tobytes()
    write_atomically(path, hashlib.sha256(payload).digest() + payload)
