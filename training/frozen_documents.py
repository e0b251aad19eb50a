"""Document vectors of a frozen tower: they never change, so each document is encoded once, for all runs."""

import logging
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evaluation.vector_cache import digest_of
from infembed.artefacts import new_file
from infembed.inputs import TextInput
from infembed.progress import Report
from infembed.vectors import FloatArray, require_finite
from training.model import InfEmbed

_CHUNK_TOKENS = 8192
_SHARE = 2048
_log = logging.getLogger(__name__)


class FrozenDocuments:
    """Looks documents up that were encoded before training began."""

    def __init__(self, vectors: dict[str, FloatArray]) -> None:
        self._vectors = vectors

    def has(self, documents: Iterable[str]) -> bool:
        """Whether all of them were encoded."""
        return all(document in self._vectors for document in documents)

    def __getitem__(self, documents: Sequence[str]) -> Tensor:
        """Return (N, D) unit vectors in order."""
        return torch.from_numpy(np.stack([self._vectors[document] for document in documents]))


def encode_frozen(
    model: InfEmbed, documents: Iterable[str], *, cache: Path, report: Report = lambda *_: None
) -> FrozenDocuments:
    """Encode every document that the cache lacks; what is done is kept if this is interrupted."""
    directory = cache / model.base_document_digest[:16]
    directory.mkdir(parents=True, exist_ok=True)
    vectors = _read(directory, model.dim)
    wanted = list(dict.fromkeys(documents))
    missing = [document for document in wanted if digest_of([document]) not in vectors]
    for start in range(0, len(missing), _SHARE):
        share = missing[start : start + _SHARE]
        with torch.no_grad():
            tokens = model.tokenize([TextInput(document) for document in share])
            found = require_finite(model.encode([], tokens, chunk_tokens=_CHUNK_TOKENS).documents_ND.cpu().numpy())
        keys = [digest_of([document]) for document in share]
        with new_file(directory / f"{digest_of(keys)[:16]}.npz") as path:
            with path.open("wb") as file:
                np.savez(file, keys=np.array(keys), vectors=found)
        vectors.update(zip(keys, found, strict=True))
        report("encoding documents", min(start + _SHARE, len(missing)), len(missing))
    return FrozenDocuments({document: vectors[digest_of([document])] for document in wanted})


def _read(directory: Path, dim: int) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    for path in sorted(directory.glob("*.npz")):
        try:
            with path.open("rb") as file, np.load(file) as data:
                keys, vectors = data["keys"].tolist(), data["vectors"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            _log.warning("%s is damaged, its documents are encoded again", path)
            continue
        if vectors.shape == (len(keys), dim) and np.isfinite(vectors).all():
            found.update(zip(keys, vectors, strict=True))
    return found
