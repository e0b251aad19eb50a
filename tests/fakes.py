"""Fakes with the real interfaces, shared by the packages' tests."""

import hashlib
from collections.abc import Sequence

import numpy as np

from infembed.inputs import Fusion, TextInput, render
from infembed.vectors import FloatArray, normalize


class HashingEncoder:
    """A deterministic encoder: each word adds a random direction of its own. Counts what it encodes."""

    def __init__(self, *, dim: int = 16, fingerprint: str = "f" * 64) -> None:
        self._dim = dim
        self._fingerprint = fingerprint
        self.encoded: list[str] = []

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def document_fingerprint(self) -> str:
        return self._fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        self.encoded.extend(texts)
        return self._encode(texts)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._encode([render(query, fusion=Fusion.CONCAT, prompts={}).text for query in queries])

    def _encode(self, texts: Sequence[str]) -> FloatArray:
        rows = [np.sum([self._direction(word) for word in text.lower().split()], axis=0) for text in texts]
        return normalize(np.array(rows, dtype=np.float32).reshape(len(texts), self._dim))

    def _direction(self, word: str) -> FloatArray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=self._dim).astype(np.float32)


class WeighingEncoder(HashingEncoder):
    """Follows instructions by adding their words with a weight; 0 ignores them."""

    def __init__(self, weight: float) -> None:
        super().__init__(dim=64)
        self._weight = weight

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        texts = self._encode([query.text for query in queries])
        wishes = self._encode([query.instruction or query.text for query in queries])
        has_wish = np.array([[bool(query.instruction)] for query in queries])
        return normalize((texts + self._weight * wishes * has_wish).astype(np.float32))
