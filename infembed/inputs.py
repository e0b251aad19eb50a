"""What can be embedded, and the one place that renders it into the text a model sees."""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

_INVISIBLE = frozenset("CMZ")
"""Unicode's general categories of what shows nothing by itself: controls, marks, separators."""


class InputType(StrEnum):
    """Which side of retrieval an input belongs to."""

    QUERY = "query"
    DOCUMENT = "document"


class Fusion(StrEnum):
    """How instruction and query become one vector (docs/decisions/0003)."""

    PREFIX = "prefix"
    ATTENTION = "attention"
    CONCAT = "concat"


@dataclass(frozen=True, slots=True)
class TextInput:
    """A query (with or without an instruction) or a document, as the user gave it."""

    text: str
    input_type: InputType = InputType.DOCUMENT
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class RenderedInput:
    """The texts the tokenizer gets; `instruction` is None where the model reads a single text."""

    text: str
    instruction: str | None


def has_words(text: str) -> bool:
    """Return whether a text holds anything a reader, or a model, could see."""
    return any(unicodedata.category(character)[0] not in _INVISIBLE for character in text)


def render(item: TextInput, *, fusion: Fusion, prompts: dict[InputType, str]) -> RenderedInput:
    """Render an input for a model: prompt first, then text; `concat` appends the instruction to the query.

    A blank or invisible instruction counts as none, so all three fusions give the plain query embedding for it.
    """
    text = prompts.get(item.input_type, "") + item.text
    instruction = (item.instruction or "").strip()
    if not has_words(instruction) or item.input_type is InputType.DOCUMENT:
        return RenderedInput(text, None)
    if fusion is Fusion.CONCAT:
        return RenderedInput(f"{text} {instruction}", None)
    return RenderedInput(text, instruction)
