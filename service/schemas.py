"""Requests and responses as the API documents them. Types are strict: nothing is guessed from a wrong one."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from infembed.inputs import InputType
from infembed.tokenization import TruncationDirection


class _Request(BaseModel):
    """A native request: unknown keys are refused, so that a misspelt option is not silently ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _input_type(value: object) -> object:
    """`passage` is the paper's word for document; both are accepted, in any case."""
    value = _lower(value)
    return InputType.DOCUMENT if value == "passage" else _enum(InputType, value)


def _direction(value: object) -> object:
    return _enum(TruncationDirection, _lower(value))


def _cut(value: object) -> object:
    return value if isinstance(value, bool) else _enum(Cut, _lower(value))


class Cut(StrEnum):
    """NIM's and Cohere's words for what happens to a text that is too long: it is refused, or loses an end."""

    NONE = "none"
    START = "start"
    END = "end"


def _enum(kind: type[StrEnum], value: object) -> object:
    if value is None or isinstance(value, kind):
        return value
    try:
        return kind(str(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(kind)}") from None


Side = Annotated[InputType, BeforeValidator(_input_type)]
Direction = Annotated[TruncationDirection, BeforeValidator(_direction)]
Truncate = Annotated[bool | Cut, BeforeValidator(_cut)]
Texts = str | Annotated[list[str], Field(fail_fast=True)]
"""A list stops at its first wrong element: a million of them must not make a million errors."""
Instructions = str | Annotated[list[str | None], Field(fail_fast=True)]


_DIMENSIONS = "Cut vectors to this many values, one of the `dimensions` at /info; others are refused (400)."
EncodingFormat = Literal["float", "base64"]


class EmbedRequest(_Request):
    """`POST /embed`: a superset of text-embeddings-inference."""

    inputs: Texts = Field(description="One text or many; always answered by a list of vectors.")
    instruction: Instructions | None = Field(
        default=None, description="How the result must be: one for all inputs, or one for each (null: none)."
    )
    input_type: Side | None = Field(
        default=None, description="`query` or `document` (`passage`); default: query when an instruction is given."
    )
    normalize: bool = Field(default=True, description="Scale vectors to unit length.")
    truncate: bool | None = Field(default=True, description="Cut texts that are too long; false refuses them (422).")
    truncation_direction: Direction = Field(default=TruncationDirection.RIGHT, description="Which end is cut.")
    prompt_name: str | None = Field(default=None, description="Not used by this model; any name is refused.")
    dimensions: int | None = Field(default=None, ge=1, description=_DIMENSIONS)
    encoding_format: EncodingFormat = Field(
        default="float", description="`base64`: each vector as little-endian float32, a third of the size."
    )
    details: bool = Field(
        default=False, description="Put to each vector its text's `tokens` and whether it was `truncated`."
    )


class EmbeddedText(BaseModel):
    """A vector with `details`; an instruction that the query has counts into both."""

    embedding: list[float] | str
    tokens: int = Field(description="Tokens the model read.")
    truncated: bool = Field(description="Whether it left some unread.")


EmbedResponse = list[list[float]] | list[str] | list[EmbeddedText]


class SearchRequest(_Request):
    """`POST /search`."""

    query: str = Field(description="What to look for.")
    instruction: str | None = Field(default=None, description="How the result must be.")
    k: int = Field(default=10, ge=1, description="How many documents.")
    offset: int = Field(default=0, ge=0, description="Documents to skip, for paging.")
    collection: str | None = Field(default=None, description="Default: the service's default collection.")
    score_threshold: float | None = Field(default=None, ge=-1, le=1, description="Leave out documents below this.")
    mode: Literal["dense", "lexical", "hybrid"] = Field(default="dense", description="Only dense is built so far.")
    filter: dict[str, JsonValue] | None = Field(default=None, description="Not built so far.")
    explain: bool = Field(default=False, description="Add each result's rank without the instruction.")


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


TokenIds = Annotated[list[int], Field(fail_fast=True)] | Annotated[list[list[int]], Field(fail_fast=True)]


class OpenAIEmbeddingsRequest(BaseModel):
    """`POST /v1/embeddings`: OpenAI's shape, `instruction` and `input_type` as extra keys, others ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    input: Texts | TokenIds = Field(description="Texts; token ids are refused (400).")
    model: str | None = None
    encoding_format: EncodingFormat | None = "float"
    dimensions: int | None = Field(default=None, ge=0, description=f"{_DIMENSIONS} 0 counts as none.")
    truncate: Truncate | None = Field(
        default=True,
        description="`END` (true), `START`, or `NONE` (false), which refuses texts that are too long (422).",
    )
    user: str | None = None
    instruction: Instructions | None = None
    input_type: Side | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_chat(cls, body: object) -> object:
        if isinstance(body, dict) and "messages" in body and "input" not in body:
            raise ValueError("this model embeds texts in `input`, not `messages` (mteb: use_chat_template=False)")
        return body


class TokenizeRequest(_Request):
    """`POST /tokenize`: text-embeddings-inference's."""

    inputs: Texts = Field(description="One text or many; always answered by a list for each.")
    add_special_tokens: bool = Field(default=True, description="Show the tokens that the model puts around a text.")
    prompt_name: str | None = Field(default=None, description="Not used by this model; any name is refused.")


class TokenShown(BaseModel):
    """A token; `start` and `stop` are its characters in the text, null for a special one."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class SimilarityInputs(_Request):
    """A sentence and those to compare it with."""

    source_sentence: str
    sentences: Annotated[list[str], Field(fail_fast=True)]


class SimilarityParameters(_Request):
    """Options of a comparison."""

    truncate: bool | None = True
    truncation_direction: Direction = TruncationDirection.RIGHT
    prompt_name: str | None = None


class SimilarityRequest(_Request):
    """`POST /similarity`: cosine of one sentence with many."""

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


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
