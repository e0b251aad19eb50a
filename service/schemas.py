"""Requests as the API documents them. Types are strict: nothing is guessed from a wrong one."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

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


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


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


Side = Annotated[
    InputType, BeforeValidator(_input_type), WithJsonSchema({"type": "string", "enum": [*InputType, "passage"]})
]
Direction = Annotated[TruncationDirection, BeforeValidator(_direction)]
Truncate = Annotated[bool | Cut, BeforeValidator(_cut)]
Text = Annotated[str, Field(json_schema_extra={"minLength": 1, "pattern": r"\S"})]
"""Described as non-empty, checked where its place among others is known: the answer is TEI's 400, not a 422."""
Texts = Text | Annotated[list[Text], Field(fail_fast=True, json_schema_extra={"minItems": 1})]
"""A list stops at its first wrong element: a million of them must not make a million errors."""
Instructions = str | Annotated[list[str | None], Field(fail_fast=True)]
Whole = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
"""JSON knows no integers: 3.0 is 3, and some languages write it so."""
Unused = Annotated[str | None, WithJsonSchema({"type": "null"})]
"""Taken for the sake of a sentence that says why not."""

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
    prompt_name: Unused = Field(default=None, description="Not used by this model; any name is refused.")
    dimensions: Positive | None = Field(default=None, description=_DIMENSIONS)
    encoding_format: EncodingFormat = Field(
        default="float", description="`base64`: each vector as little-endian float32, a third of the size."
    )
    details: bool = Field(
        default=False, description="Put to each vector its text's `tokens` and whether it was `truncated`."
    )


class SearchRequest(_Request):
    """`POST /search`."""

    query: Text = Field(description="What to look for.")
    instruction: str | None = Field(default=None, description="How the result must be.")
    k: Positive = Field(default=10, description="How many documents.")
    offset: Whole = Field(default=0, description="Documents to skip, for paging.")
    collection: str | None = Field(default=None, description="Default: the service's default collection.")
    score_threshold: float | None = Field(default=None, ge=-1, le=1, description="Leave out documents below this.")
    mode: Literal["dense", "lexical", "hybrid"] = Field(
        default="dense", description="Only dense is built so far.", json_schema_extra={"enum": ["dense"]}
    )
    filter: Annotated[dict[str, JsonValue] | None, WithJsonSchema({"type": "null"})] = Field(
        default=None, description="Not built so far."
    )
    explain: bool = Field(default=False, description="Add each result's rank without the instruction.")


TokenIds = Annotated[list[int], Field(fail_fast=True)] | Annotated[list[list[int]], Field(fail_fast=True)]


class OpenAIEmbeddingsRequest(BaseModel):
    """`POST /v1/embeddings`: OpenAI's shape, `instruction` and `input_type` as extra keys, others ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    input: Texts | SkipJsonSchema[TokenIds] = Field(description="Texts; token ids are refused (400).")
    model: str | None = None
    encoding_format: EncodingFormat | None = "float"
    dimensions: Whole | None = Field(default=None, description=f"{_DIMENSIONS} 0 counts as none.")
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

    inputs: str | Annotated[list[str], Field(fail_fast=True, json_schema_extra={"minItems": 1})] = Field(
        description="One text or many; always answered by a list for each."
    )
    add_special_tokens: bool = Field(default=True, description="Show the tokens that the model puts around a text.")
    prompt_name: Unused = Field(default=None, description="Not used by this model; any name is refused.")


class SimilarityInputs(_Request):
    """A sentence and those to compare it with."""

    source_sentence: Text
    sentences: Annotated[list[Text], Field(fail_fast=True, json_schema_extra={"minItems": 1})]


class SimilarityParameters(_Request):
    """Options of a comparison."""

    truncate: bool | None = True
    truncation_direction: Direction = TruncationDirection.RIGHT
    prompt_name: Unused = None


class SimilarityRequest(_Request):
    """`POST /similarity`: cosine of one sentence with many."""

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None
