"""The JSON that each stage's model answers with; reasons come before what they lead to, so that they can."""

from typing import Any, Literal

from pydantic import Field

from infembed.config import Config
from training.synthesis.criteria import Criterion
from training.synthesis.draft import Stage

Letter = Literal["A", "B", "C", "none"]
LETTERS: tuple[Letter, ...] = ("A", "B", "C")


class Instruction(Config):
    """Stage `instruction`."""

    met_by: str = Field(description="what in the passage makes it fit the instruction, in one sentence")
    fits: bool = Field(description="false if no natural instruction of this type suits the query and the passage")
    instruction: str


class PoisonedInstruction(Config):
    """Stage `instruction_poisoning`."""

    broken_by: str = Field(description="what in the passage breaks the new instruction, in one sentence")
    instruction: str


class PoisonedQuery(Config):
    """Stage `query_poisoning`."""

    difference: str = Field(description="how the new need differs, in one sentence")
    query: str


class Document(Config):
    """Stages `hard_negative_1` and `hard_negative_2`."""

    plan: str = Field(description="what the passage will say to fit the wish it is for, in one sentence")
    document: str


class Score(Config):
    """One criterion."""

    reason: str = Field(description="one sentence, naming the text that decides")
    score: Literal[1, 2, 3, 4, 5]


class Judgement(Config):
    """Stage `judge`."""

    best_for_wish_1: Letter
    best_for_wish_2: Letter
    best_for_wish_3: Letter
    plausible: Score
    violating: Score
    answerable: Score
    positive: Score
    not_lexical: Score

    def score(self, criterion: Criterion, *, right: tuple[Letter, ...]) -> Score:
        """Return the score of a criterion; `right` are the documents' letters in the order of the wishes."""
        if criterion is not Criterion.MATCH:
            found: Score = getattr(self, criterion.value)
            return found
        given = (self.best_for_wish_1, self.best_for_wish_2, self.best_for_wish_3)
        return Score(reason=f"put {', '.join(given)}; meant {', '.join(right)}", score=5 if given == right else 1)


Reply = Instruction | PoisonedInstruction | PoisonedQuery | Document | Judgement
SCHEMAS: dict[Stage, type[Reply]] = {
    Stage.INSTRUCTION: Instruction,
    Stage.INSTRUCTION_POISONING: PoisonedInstruction,
    Stage.QUERY_POISONING: PoisonedQuery,
    Stage.HARD_NEGATIVE_1: Document,
    Stage.HARD_NEGATIVE_2: Document,
    Stage.JUDGE: Judgement,
}


def json_schema(stage: Stage) -> dict[str, Any]:
    """Return a stage's schema: every key required, no other allowed, as strict structured output wants it."""
    return SCHEMAS[stage].model_json_schema()


def text_in(reply: Reply) -> str:
    """Return the text that a generating stage's reply brings."""
    match reply:
        case Instruction() | PoisonedInstruction():
            return reply.instruction
        case PoisonedQuery():
            return reply.query
        case Document():
            return reply.document
        case Judgement():
            raise TypeError("a judgement brings no text")
