"""A checkpoint as `infembed evaluate` and the parity check of `infembed gate` read it.

Evaluation finds `open_scored` through the entry points `infembed.checkpoints`: it must not import training.
"""

from pathlib import Path

import torch

from evaluation.encoders import ScoredModel, directory_digest
from evaluation.report import ModelIdentity, ModelKind
from evaluation.vector_cache import digest_of
from training.checkpoint import load_checkpoint, read_manifest
from training.encoder import TorchEncoder


def open_scored(path: Path) -> ScoredModel:
    """Open a checkpoint with its own fusion, on a GPU where there is one."""
    manifest = read_manifest(path)
    model = load_checkpoint(path)
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    trained = [] if manifest.model.tower.keeps_documents else [entry.sha256 for entry in manifest.files]
    identity = ModelIdentity(
        name=manifest.name,
        digest=directory_digest(path),
        document_fingerprint=digest_of([*trained, model.base_document_digest]),
        kind=ModelKind.CHECKPOINT,
        fusion=manifest.model.fusion,
    )
    return ScoredModel(identity, TorchEncoder(model, document_fingerprint=identity.document_fingerprint))
