"""A row in the making: the pair it starts from, and the text that each generating stage adds."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from training.corpus.rows import InstructionType


class Product(StrEnum):
    """The kind of text a stage writes."""

    INSTRUCTION = "instruction"
    QUERY = "query"
    DOCUMENT = "document"


class Stage(StrEnum):
    """The stages that ask a model, in order; also the names of their prompts. The last writes nothing, it judges."""

    INSTRUCTION = "instruction"
    INSTRUCTION_POISONING = "instruction_poisoning"
    QUERY_POISONING = "query_poisoning"
    HARD_NEGATIVE_1 = "hard_negative_1"
    HARD_NEGATIVE_2 = "hard_negative_2"
    JUDGE = "judge"

    @property
    def product(self) -> Product:
        """Return what the stage writes; the judge has no product."""
        return _WRITES[self].product

    @property
    def column(self) -> str:
        """Return the column of the row that the stage fills."""
        return _WRITES[self].column


GENERATING = tuple(stage for stage in Stage if stage is not Stage.JUDGE)


@dataclass(frozen=True)
class _Written:
    column: str
    product: Product


_WRITES = {
    Stage.INSTRUCTION: _Written("instruction_positive", Product.INSTRUCTION),
    Stage.INSTRUCTION_POISONING: _Written("instruction_negative", Product.INSTRUCTION),
    Stage.QUERY_POISONING: _Written("query_negative", Product.QUERY),
    Stage.HARD_NEGATIVE_1: _Written("hard_negative_document_1", Product.DOCUMENT),
    Stage.HARD_NEGATIVE_2: _Written("hard_negative_document_2", Product.DOCUMENT),
}


@dataclass(frozen=True)
class Draft:
    """The texts of a row so far, by the names of its columns; empty where no stage has been yet."""

    instruction_type: InstructionType
    query_positive: str
    document_positive: str
    instruction_positive: str = ""
    instruction_negative: str = ""
    query_negative: str = ""
    hard_negative_document_1: str = ""
    hard_negative_document_2: str = ""

    def text_of(self, stage: Stage) -> str:
        """Return the text that a stage has added."""
        return str(getattr(self, stage.column))

    def with_text(self, stage: Stage, text: str) -> "Draft":
        """Return the draft with the text of one more stage."""
        filled: dict[str, Any] = {stage.column: text.strip()}
        return replace(self, **filled)

    def instruction_for(self, stage: Stage) -> str:
        """Return the instruction that the document of a stage is written for."""
        return self.instruction_negative if stage is Stage.HARD_NEGATIVE_1 else self.instruction_positive

    def texts_before(self, stage: Stage) -> list[str]:
        """Return the texts that were there when the stage began."""
        earlier = GENERATING[: GENERATING.index(stage)]
        return [self.query_positive, self.document_positive, *(self.text_of(other) for other in earlier)]
