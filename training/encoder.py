"""A model in PyTorch as an `Encoder`: what dev scores, ablations and parity checks encode with."""

from collections.abc import Sequence

import numpy as np
import torch

from infembed.inputs import TextInput
from infembed.vectors import FloatArray, require_finite
from training.frozen_documents import FrozenDocuments
from training.model import InfEmbed

_CHUNK_TOKENS = 8192
_SHARE = 1024


class TorchEncoder:
    """Encodes without gradients; `frozen` are vectors of documents that no training changes: they are looked up."""

    def __init__(
        self,
        model: InfEmbed,
        *,
        document_fingerprint: str = "of a model in training",
        frozen: FrozenDocuments | None = None,
    ) -> None:
        self._model = model
        self._frozen = frozen
        self.document_fingerprint = document_fingerprint

    @property
    def dim(self) -> int:
        return self._model.dim

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        if self._frozen is not None and self._frozen.has(texts):
            found: FloatArray = self._frozen[texts].numpy()
            return found
        return self._encode([TextInput(text) for text in texts], is_query=False)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._encode(queries, is_query=True)

    def _encode(self, items: Sequence[TextInput], *, is_query: bool) -> FloatArray:
        model = self._model
        was_training = model.training
        model.eval()
        found = [np.empty((0, self.dim), dtype=np.float32)]
        with torch.no_grad():
            for start in range(0, len(items), _SHARE):
                tokens = model.tokenize(items[start : start + _SHARE])
                both = model.encode(tokens if is_query else [], [] if is_query else tokens, chunk_tokens=_CHUNK_TOKENS)
                found.append((both.queries_QD if is_query else both.documents_ND).float().cpu().numpy())
        model.train(was_training)
        return require_finite(np.concatenate(found))
