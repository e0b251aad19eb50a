"""A row of the InF-IR corpus and the three anchored pairs it holds (arXiv 2505.21439, section 3).

    (query_positive, instruction_positive) -> document_positive
    (query_positive, instruction_negative) -> hard_negative_document_1    the same need, another wish
    (query_negative, instruction_positive) -> hard_negative_document_2    the same wish, another need

Each pair's document is a hard negative of the other two pairs.
"""

from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from infembed.config import Config
from infembed.inputs import has_words

MAX_CHARACTERS = 20_000
"""Longest text of a row; far beyond what an encoder reads, so more is a fault of the source."""
TEXT_COLUMNS = (
    "query_positive",
    "instruction_positive",
    "document_positive",
    "query_negative",
    "instruction_negative",
    "hard_negative_document_1",
    "hard_negative_document_2",
)


class InstructionType(StrEnum):
    """What kind of wish an instruction is; `plain` marks rows without one."""

    FACET = "facet"
    INCLUSION = "inclusion"
    EXCLUSION = "exclusion"
    NEGATION = "negation"
    STANCE = "stance"
    AUDIENCE = "audience"
    PERSONA = "persona"
    TIME = "time"
    PLACE = "place"
    FORMAT = "format"
    DETAIL = "detail"
    CONJUNCTION = "conjunction"
    PLAIN = "plain"


class AnchoredPair(NamedTuple):
    """A query with its instruction, and the document that is right for both."""

    query: str
    instruction: str | None
    document: str


class Row(Config):
    """One row, with the column names of the public set `InF-IR/InF-IR`.

    Rows without instruction keep plain retrieval in the mix: they have a query and its document, nothing else, or a
    `query_negative` with its document. Of the public set's rows source, type and licence are those of the set.
    """

    query_positive: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    instruction_positive: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    document_positive: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    query_negative: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    instruction_negative: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    hard_negative_document_1: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    hard_negative_document_2: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    source: str = Field(min_length=1, description="the data set or method that made the row")
    instruction_type: InstructionType | None = Field(default=None, description="None where nobody said")
    license: str = Field(min_length=1)
    domain: str | None = Field(default=None, description="the subject area, for splits by domain")
    source_id: str | None = Field(default=None, description="the query's or topic's id in its source, to exclude it by")

    @field_validator(*TEXT_COLUMNS, mode="before")
    @classmethod
    def _blank_is_absent(cls, value: object) -> object:
        """Count a text without anything to see, such as NUL or a zero-width space, as none: no model reads it."""
        if isinstance(value, str):
            value = value.strip()
            return value if has_words(value) else None
        return value

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        both = (
            ("instruction_negative", "hard_negative_document_1"),
            ("query_negative", "hard_negative_document_2"),
        )
        for first, second in both:
            if (getattr(self, first) is None) != (getattr(self, second) is None):
                raise ValueError(f"{first} and {second} belong together: give both or neither")
        if self.instruction_positive is None and self.instruction_negative is not None:
            raise ValueError("instruction_negative needs an instruction_positive to be the opposite of")
        if (self.instruction_type is InstructionType.PLAIN) != (self.instruction_positive is None):
            raise ValueError("instruction_type is `plain` for rows without instruction_positive, and only for them")
        if self.document_positive in (self.hard_negative_document_1, self.hard_negative_document_2):
            raise ValueError("a hard negative equals document_positive")
        return self

    def pairs(self) -> list[AnchoredPair]:
        """Return the anchored pairs the row holds, the positive one first."""
        pairs = [AnchoredPair(self.query_positive, self.instruction_positive, self.document_positive)]
        if self.hard_negative_document_1 is not None:
            pairs.append(AnchoredPair(self.query_positive, self.instruction_negative, self.hard_negative_document_1))
        if self.query_negative is not None and self.hard_negative_document_2 is not None:
            pairs.append(AnchoredPair(self.query_negative, self.instruction_positive, self.hard_negative_document_2))
        return pairs
