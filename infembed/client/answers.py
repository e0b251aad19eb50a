"""What the service answers, typed. Keys that a newer service adds are left alone."""

from typing import Any, NamedTuple

from pydantic import ConfigDict

from infembed.config import Config
from infembed.vectors import FloatArray


class _Answer(Config):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Embeddings(NamedTuple):
    """Vectors (N, D) in the order of the texts; of each, the tokens that were read and whether some were not."""

    vectors: FloatArray
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


class EmbeddedText(_Answer):
    """One text of an answer as it travels; `embedding` is base64."""

    embedding: str
    tokens: int
    truncated: bool


class Hit(_Answer):
    """One document; `rank_without_instruction` comes with `explain`, None: not among the first 100."""

    id: str
    score: float
    text: str
    metadata: dict[str, Any]
    rank_without_instruction: int | None = None


class InstructionEffect(_Answer):
    """How much the instruction changed a search: 1 - cosine of the query, and the share of new results."""

    query_shift: float
    rank_churn: float


class SearchAnswer(_Answer):
    """Documents, best first; `truncated`: query or instruction was longer than the model reads."""

    results: tuple[Hit, ...]
    collection: str
    truncated: bool
    effect: InstructionEffect | None = None


class Token(_Answer):
    """A token as the model sees it; `start` and `stop` are its characters in the text, None for special ones."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class CollectionInfo(_Answer):
    """A collection that can be searched."""

    documents: int
    generation: str
    built_at: str
    size_bytes: int


class ServiceInfo(_Answer):
    """The model, its limits and the collections; `dimensions` are the widths that vectors may be cut to."""

    model_id: str
    model_sha: str
    version: str
    fusion: str
    dim: int
    dimensions: tuple[int, ...] = ()
    max_tokens: dict[str, int]
    max_client_batch_size: int
    document_fingerprint: str
    collections: dict[str, CollectionInfo]
