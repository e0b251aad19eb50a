"""A teacher: a trained checkpoint whose scores of a batch's documents the model learns to give.

Only scores are compared, so that a teacher may have another base model, dim or fusion: one trained with `concat`, say.
"""

from pathlib import Path

import torch

from infembed.errors import MissingArtefactError
from infembed.inputs import TextInput
from training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from training.frozen_documents import FrozenDocuments
from training.model import Encoded, InfEmbed, query_inputs
from training.pairs import PairBatch


class Teacher:
    """Encodes batches without gradients; `frozen` are its documents' vectors where their tower is frozen."""

    def __init__(self, model: InfEmbed, frozen: FrozenDocuments | None) -> None:
        self._model = model
        self._frozen = frozen

    def encode(self, batch: PairBatch, *, chunk_tokens: int) -> Encoded:
        """Encode the pairs' own queries, and every document of a batch."""
        model = self._model
        queries = model.tokenize(query_inputs(batch.own_queries))
        documents = [] if self._frozen else model.tokenize([TextInput(text) for text in batch.documents])
        with torch.no_grad():
            encoded: Encoded = model(queries, documents, chunk_tokens=chunk_tokens)
        if self._frozen is None:
            return encoded
        return encoded._replace(documents_ND=self._frozen[batch.documents].to(encoded.queries_QD.device))


def open_teacher(path: Path) -> InfEmbed:
    """Load a teacher; it stays in eval mode and never learns."""
    if not (path / CHECKPOINT_FILE).is_file():
        raise MissingArtefactError(
            f"loss.teacher names {path}, and no checkpoint is there (no {CHECKPOINT_FILE}); train it first, or name "
            "the `model` directory of a finished run"
        )
    return load_checkpoint(path).requires_grad_(False)
