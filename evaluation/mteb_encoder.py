"""Lets mteb drive an encoder of ours: the instruction of a query is given apart from it, as the service does.

mteb hands over three texts of an instructed query: `query`, `instruction`, and `text`, the two joined by a blank. Most
models read `text`; fusion needs the other two. Use:

    mteb.evaluate(MtebEncoder.of(open_bundle(path)), mteb.get_tasks(["Robust04InstructionRetrieval"]))
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from mteb.types import PromptType

from evaluation.encoders import ScoredModel
from infembed.encoder import Encoder
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray

_ORGANISATION = "inf-embed"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class MtebEncoder(AbsEncoder):  # type: ignore[misc] # mteb is not followed by mypy
    """An `infembed.encoder.Encoder` with mteb's interface; `revision` tells apart results of models of one name."""

    def __init__(self, encoder: Encoder, *, name: str, revision: str) -> None:
        self.model = encoder
        self.mteb_model_meta = _meta(name, revision, dim=encoder.dim)

    @classmethod
    def of(cls, model: ScoredModel) -> "MtebEncoder":
        """Wrap a model that was opened for scoring: a bundle, a service, a sentence-transformers model."""
        return cls(model.encoder, name=model.identity.name, revision=model.identity.digest)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Sequence[Any]]],
        *,
        prompt_type: PromptType | None = None,
        **_: object,
    ) -> FloatArray:
        """Encode mteb's batches; (N, D) unit vectors in order, zeros for documents without text.

        Texts that are neither queries nor documents (classification, similarity) are encoded as documents.
        """
        if prompt_type == PromptType.query:
            return self._queries([item for batch in inputs for item in _instructed(batch)])
        return self._documents([text for batch in inputs for text in batch["text"]])

    def _queries(self, queries: Sequence[TextInput]) -> FloatArray:
        encoder: Encoder = self.model
        return encoder.encode_queries(queries)

    def _documents(self, texts: Sequence[str]) -> FloatArray:
        encoder: Encoder = self.model
        vectors = np.zeros((len(texts), encoder.dim), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if text.strip()]
        vectors[rows] = encoder.encode_documents([texts[row] for row in rows])
        return vectors


def _instructed(batch: Mapping[str, Sequence[Any]]) -> list[TextInput]:
    queries: Sequence[str] = batch["query"]
    instructions: Sequence[str | None] = batch.get("instruction", [None] * len(queries))
    return [
        TextInput(query, InputType.QUERY, instruction or None)
        for query, instruction in zip(queries, instructions, strict=True)
    ]


def _meta(name: str, revision: str, *, dim: int) -> ModelMeta:
    """Describe the model; what we do not know of it is left open."""
    return ModelMeta(
        loader=None,
        name=f"{_ORGANISATION}/{_NOT_IN_NAMES.sub('-', name)}",
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=dim,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["ONNX"],
        similarity_fn_name=ScoringFunction.DOT_PRODUCT,
        use_instructions=True,
        training_datasets=None,
    )
