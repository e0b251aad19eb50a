"""The questions of a canary run: shadow queries, and probe pairs whose instruction changes."""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from infembed.artefacts import sha256_file
from infembed.config import Config, explain
from infembed.errors import BadInputError, MissingArtefactError

_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
_EXPECTED = (
    'one JSON object with "query" and perhaps "instruction", or with "query", "original_instruction", '
    '"changed_instruction" and perhaps "withdrawn"'
)


class Search(NamedTuple):
    """What one request asks for."""

    query: str
    instruction: str | None


class Shadow(Config):
    """A query as users ask it; keys of a query log beyond these are left alone."""

    model_config = ConfigDict(extra="ignore")

    query: _Text
    instruction: _Text | None = None

    @property
    def searches(self) -> tuple[Search, ...]:
        return (Search(self.query, self.instruction),)


class Probe(Config):
    """A query under two instructions; `withdrawn` are documents relevant under the original one alone."""

    model_config = ConfigDict(extra="ignore")

    query: _Text
    original_instruction: _Text
    changed_instruction: _Text
    withdrawn: tuple[_Text, ...] = Field(default=(), description="ids; without any the pair shows sensitivity only")

    @model_validator(mode="after")
    def _changes_something(self) -> "Probe":
        if self.original_instruction == self.changed_instruction:
            raise ValueError("original_instruction and changed_instruction are the same; a probe needs two")
        return self

    @property
    def searches(self) -> tuple[Search, ...]:
        return Search(self.query, self.original_instruction), Search(self.query, self.changed_instruction)


Question = Shadow | Probe


class QuestionFile(NamedTuple):
    """The questions of a file and its digest."""

    questions: tuple[Question, ...]
    sha256: str


def read_questions(path: Path) -> QuestionFile:
    """Read a JSONL file of questions; every fault names the line and what was expected."""
    if not path.is_file():
        raise MissingArtefactError(f"no file of queries at {path}; write JSONL, on each line {_EXPECTED}")
    questions = tuple(_parse(line, f"{path} line {number}") for number, line in _lines(path))
    if not questions:
        raise BadInputError(f"{path} holds no query; write JSONL, on each line {_EXPECTED}")
    return QuestionFile(questions, sha256_file(path))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise BadInputError(f"{path} line {number} is not UTF-8 ({error.reason}); save it as UTF-8") from error
            if line:
                yield number, line


def _parse(line: str, where: str) -> Question:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where} is not valid JSON ({error}); expected {_EXPECTED}") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{where} is {type(found).__name__}; expected {_EXPECTED}")
    is_probe = "original_instruction" in found or "changed_instruction" in found
    kind: type[Question] = Probe if is_probe else Shadow
    _refuse_misspelling(found, kind, where)
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise BadInputError(f"{where}: {explain(error)}; expected {_EXPECTED}") from error


def _refuse_misspelling(found: dict[str, object], kind: type[Question], where: str) -> None:
    """Extra keys are welcome, a misspelt `instruction` would silently ask something else."""
    if kind is Shadow and "withdrawn" in found:
        raise BadInputError(f"{where} has withdrawn but not both instructions; expected {_EXPECTED}")
    for key in found:
        close = get_close_matches(key, kind.model_fields, n=1, cutoff=0.85)
        if close and close[0] != key and close[0] not in found:
            raise BadInputError(f"{where} has the key {key!r}; did you mean {close[0]!r}? Expected {_EXPECTED}")
