"""A checkpoint as a sentence-transformers module, so that mteb and LangChain can use a model without our service.

`export_sentence_transformers` writes a directory that `SentenceTransformer(path, trust_remote_code=True)` opens where
inf-embed is installed. Texts are documents and plain queries as usual; a query with an instruction is given as
`{"text": ..., "instruction": ...}`.
"""

import json
from pathlib import Path
from typing import Any, Self

import torch
from sentence_transformers.models import Module
from torch import Tensor

from infembed.artefacts import new_directory
from infembed.errors import BadInputError
from infembed.inputs import InputType, TextInput
from infembed.tokenization import TokenizedInput
from training.checkpoint import load_checkpoint, read_manifest, save_checkpoint
from training.model import InfEmbed

_CHECKPOINT = "checkpoint"
_CHUNK_TOKENS = 8192


class InfEmbedModule(Module):
    """Wraps an `InfEmbed`; sentence-transformers gives it texts and takes `sentence_embedding`."""

    def __init__(self, model: InfEmbed) -> None:
        super().__init__()
        self.model = model

    def tokenize(self, texts: list[str] | list[dict[str, str]], **_: Any) -> dict[str, Any]:
        """Keep the token ids of each text; they are padded where they are encoded."""
        return {"items": self.model.tokenize([_input(text) for text in texts])}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        items: list[TokenizedInput] = features["items"]
        features["sentence_embedding"] = self._encode(items)
        return features

    def get_sentence_embedding_dimension(self) -> int:
        return self.model.dim

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        save_checkpoint(self.model, Path(output_path) / _CHECKPOINT, name="sentence-transformers", made_from={})

    @classmethod
    def load(cls, model_name_or_path: str, **_: Any) -> Self:
        return cls(load_checkpoint(Path(model_name_or_path) / _CHECKPOINT))

    def _encode(self, items: list[TokenizedInput]) -> Tensor:
        is_query = [item.input_type is InputType.QUERY for item in items]
        queries = [item for item, is_one in zip(items, is_query, strict=True) if is_one]
        documents = [item for item, is_one in zip(items, is_query, strict=True) if not is_one]
        found = self.model(queries, documents, chunk_tokens=_CHUNK_TOKENS)
        vectors = torch.empty((len(items), self.model.dim), device=found.queries_QD.device)
        chosen = torch.tensor(is_query, device=vectors.device)
        vectors[chosen] = found.queries_QD.to(vectors.dtype)
        vectors[~chosen] = found.documents_ND.to(vectors.device, vectors.dtype)
        return vectors
