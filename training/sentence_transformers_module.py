"""A checkpoint as a sentence-transformers model, so that mteb and LangChain can use it without our service.

    model = SentenceTransformer("RUN/sentence-transformers", trust_remote_code=True)
    model.encode_document(["Copper tape keeps slugs off."])
    model.encode_query(["keep slugs off lettuce"], prompt="No chemicals.")
    model.encode_query([{"text": "keep slugs off lettuce", "instruction": "No chemicals."}])

Inf-embed must be installed where the directory is opened. `encode` without a task encodes documents.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from sentence_transformers.base.modules import InputModule
from torch import Tensor

from infembed.artefacts import new_directory
from infembed.errors import BadInputError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.tokenization import TokenizedInput
from training.checkpoint import load_checkpoint, read_manifest, save_checkpoint
from training.model import InfEmbed

_CHECKPOINT = "checkpoint"
_CHUNK_TOKENS = 8192
_ITEMS = "items"


def export_sentence_transformers(checkpoint: Path, out: Path) -> Path:
    """Write a directory that `SentenceTransformer` opens, whole or not at all; `out` must not exist."""
    read_manifest(checkpoint)
    module = {"idx": 0, "name": "0", "path": "", "type": f"{InfEmbedModule.__module__}.{InfEmbedModule.__name__}"}
    with new_directory(out) as directory:
        shutil.copytree(checkpoint, directory / _CHECKPOINT)
        (directory / "modules.json").write_text(json.dumps([module], indent=2), encoding="utf-8")
        similarity = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
        (directory / "config_sentence_transformers.json").write_text(json.dumps(similarity), encoding="utf-8")
    return out


class InfEmbedModule(InputModule):
    """Wraps an `InfEmbed`; sentence-transformers gives it texts and takes `sentence_embedding`."""

    def __init__(self, model: InfEmbed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model

    @property
    def fusion(self) -> Fusion:
        """How instructions reach queries; `infembed evaluate` puts it into its report."""
        return self.model.config.fusion

    @property
    def modalities(self) -> list[Any]:
        """Texts, and dictionaries of a text and its instruction."""
        return ["text", ("text", "instruction")]

    def preprocess(  # type: ignore[override] # texts and dictionaries are all it takes
        self, inputs: Sequence[str | dict[str, str]], prompt: str | None = None, *, task: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """Keep the token ids of each text; they are padded where they are encoded. A prompt is the instruction."""
        return {_ITEMS: self.model.tokenize([_input(given, prompt, task) for given in inputs])}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        items: list[TokenizedInput] = features[_ITEMS]
        features["sentence_embedding"] = self._encode(items)
        return features

    def get_embedding_dimension(self) -> int:
        return self.model.dim

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        save_checkpoint(self.model, Path(output_path) / _CHECKPOINT, name="sentence-transformers", made_from={})

    @classmethod
    def load(cls, model_name_or_path: str, *_: Any, **__: Any) -> Self:
        return cls(load_checkpoint(Path(model_name_or_path) / _CHECKPOINT))

    def _encode(self, items: list[TokenizedInput]) -> Tensor:
        is_query = [item.input_type is InputType.QUERY for item in items]
        queries = [item for item, is_one in zip(items, is_query, strict=True) if is_one]
        documents = [item for item, is_one in zip(items, is_query, strict=True) if not is_one]
        device = self.model.query_tower.device
        found = self.model(queries, documents, chunk_tokens=_CHUNK_TOKENS)
        vectors = torch.empty((len(items), self.model.dim), device=device)
        chosen = torch.tensor(is_query, device=device)
        vectors[chosen] = found.queries_QD.to(device)
        vectors[~chosen] = found.documents_ND.to(device)
        return vectors


def _input(given: str | dict[str, str], prompt: str | None, task: str | None) -> TextInput:
    """Read what somebody passed to `encode`, `encode_query` or `encode_document`."""
    fields = {"text": given} if isinstance(given, str) else dict(given)
    if not {"text"} <= fields.keys() <= {"text", "instruction"}:
        raise BadInputError(f"an input has the keys {', '.join(sorted(fields))}; give text, and instruction if any")
    instruction = fields.get("instruction") or prompt or None
    if task == "query" or (task is None and instruction):
        return TextInput(fields["text"], InputType.QUERY, instruction)
    if instruction:
        raise BadInputError("a document takes no instruction or prompt; give it to the query")
    return TextInput(fields["text"])
