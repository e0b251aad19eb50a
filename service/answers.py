"""Answers as the API documents them; handlers write them from NumPy without building these."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue


class SearchResult(BaseModel):
    """One document of the answer; `rank_without_instruction` comes with `explain`, null: not among the first 100."""

    id: str
    score: float
    text: str
    metadata: dict[str, JsonValue]
    rank_without_instruction: int | None = None


class InstructionEffect(BaseModel):
    """How much the instruction changed this search."""

    query_shift: float = Field(description="1 - cosine between the query with and without the instruction.")
    rank_churn: float = Field(
        description="Share of the first k, whatever score_threshold left of them, that were not the first k without it."
    )


class SearchResponse(BaseModel):
    """Documents, best first."""

    results: list[SearchResult]
    collection: str
    truncated: bool
    effect: InstructionEffect | None = None


class TokenShown(BaseModel):
    """A token; `start` and `stop` are its characters in the text, null for a special one."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class EmbeddedText(BaseModel):
    """A vector with `details`; an instruction that the query has counts into both."""

    embedding: list[float] | str
    tokens: int = Field(description="Tokens the model read.")
    truncated: bool = Field(description="Whether it left some unread.")


EmbedResponse = list[list[float]] | list[str] | list[EmbeddedText]


class Embedding(BaseModel):
    """A vector of `POST /v1/embeddings`; `tokens` and `truncated` say what the model read of its text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    tokens: int
    truncated: bool


class Usage(BaseModel):
    """Tokens of a whole request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """`POST /v1/embeddings`: OpenAI's shape."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ServedModel(BaseModel):
    """`GET /v1/models/{name}`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelList(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"]
    data: list[ServedModel]


class Alive(BaseModel):
    """`GET /health`."""

    status: Literal["alive"]


class Ready(BaseModel):
    """`GET /ready`."""

    status: Literal["ready"]


class Probes(BaseModel):
    """Vectors of fixed texts: equal where two instances serve the same model."""

    sha256: str
    first_values: list[list[float]]


class PoolingFacts(BaseModel):
    """How token states become a vector."""

    pooling: str


class ModelKind(BaseModel):
    """text-embeddings-inference's way to say that a model embeds."""

    embedding: PoolingFacts


class Limits(BaseModel):
    """What one request may ask for."""

    max_k: int
    max_body_bytes: int


class CollectionFacts(BaseModel):
    """A collection that is served."""

    documents: int
    generation: str
    built_at: str
    size_bytes: int


class Info(BaseModel):
    """`GET /info`: text-embeddings-inference's fields, and ours from `fusion` on."""

    model_id: str
    model_sha: str = Field(description="Digest of the bundle.")
    model_dtype: str
    precision: str
    model_type: ModelKind
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_client_batch_size: int
    auto_truncate: bool
    version: str
    fusion: str
    tower: str
    dim: int
    dimensions: list[int] = Field(description="Widths that vectors may be cut to, the whole one first.")
    max_tokens: dict[str, int] = Field(description="Tokens the model reads of a document, a query, an instruction.")
    document_fingerprint: str = Field(description="Indexes built under the same one can be searched.")
    probes: Probes
    limits: Limits
    collections: dict[str, CollectionFacts]


class ReloadResponse(BaseModel):
    """What a reload found, and what is served after it."""

    outcome: Literal["swapped", "unchanged"]
    model: str
    digest: str = Field(description="Of the bundle; /info calls it model_sha.")
    collections: dict[str, str] = Field(description="The generation of each collection.")


class ErrorBody(BaseModel):
    """An error of a native route."""

    error: str
    error_type: str


class OpenAIErrorDetail(BaseModel):
    """An error of a `/v1` route."""

    message: str
    type: str
    param: str | None
    code: str | int | None


class OpenAIErrorBody(BaseModel):
    """The body OpenAI's clients read."""

    error: OpenAIErrorDetail
