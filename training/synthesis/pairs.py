"""The <query, passage> pairs a run starts from, and the type of instruction each is asked for."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from infembed.artefacts import sha256_file
from infembed.config import Config, explain
from infembed.errors import BadArtefactError, MissingArtefactError
from training.corpus.files import Quarantined, raw_rows
from training.corpus.rows import MAX_CHARACTERS, InstructionType

AVOIDING = (InstructionType.EXCLUSION, InstructionType.NEGATION)
AVOIDING_EVERY = 3
"""One pair in three is asked for exclusion or negation: encoders fail these most, and a third holds for any number."""


class Pair(Config):
    """A query and a passage that answers it; other columns of a file are left alone."""

    query: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    passage: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    instruction_type: InstructionType | None = Field(default=None, description="None leaves the choice to the run")
    domain: str | None = None

    @field_validator("query", "passage")
    @classmethod
    def _is_text(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is blank")
        return value.strip()


@dataclass(frozen=True)
class Task:
    """A pair with its row number in the file, from 1, and the type of instruction it is asked for."""

    number: int
    pair: Pair
    instruction_type: InstructionType


@dataclass(frozen=True)
class Tasks:
    """What a file of pairs holds: tasks in the file's order, and what was set aside."""

    tasks: list[Task]
    quarantined: list[Quarantined]
    sha256: str


def read_tasks(path: Path, *, types: Sequence[InstructionType], seed: int) -> Tasks:
    """Read pairs from a `.jsonl`, `.jsonl.gz` or `.parquet` file; broken and repeated ones are set aside."""
    if not path.is_file():
        raise MissingArtefactError(f"no pairs at {path}; give a JSONL or Parquet file with `query` and `passage`")
    tasks: list[Task] = []
    aside: list[Quarantined] = []
    first_seen: dict[tuple[str, str], int] = {}
    dealt = deal_types(types, seed=seed)
    for number, values in raw_rows(path):
        pair = _read_pair(values)
        if isinstance(pair, str):
            aside.append(Quarantined(number, pair))
            continue
        before = first_seen.setdefault((pair.query, pair.passage), number)
        if before != number:
            aside.append(Quarantined(number, f"the same query and passage as row {before}"))
            continue
        kind = next(dealt)
        if pair.instruction_type is InstructionType.PLAIN:
            aside.append(Quarantined(number, "asks for instruction_type `plain`, which has no instruction"))
            continue
        tasks.append(Task(number, pair, pair.instruction_type or kind))
    if not tasks:
        reason = f"; the first: row {aside[0].number}, {aside[0].reason}" if aside else ""
        raise BadArtefactError(
            f"{path} holds no usable pair ({len(aside):,} broken{reason}); expected `query`, `passage`"
        )
    return Tasks(tasks, aside, sha256_file(path))


def deal_types(types: Sequence[InstructionType], *, seed: int) -> Iterator[InstructionType]:
    """Yield types without end, balanced at every length; what is appended to a file changes nothing before it.

    Every third is exclusion or negation, in turn; the others follow in rounds whose order comes from a digest.
    """
    avoiding = _rounds([kind for kind in types if kind in AVOIDING], seed=seed)
    others = _rounds([kind for kind in types if kind not in AVOIDING], seed=seed)
    number = 0
    while True:
        source = avoiding if number % AVOIDING_EVERY == 0 else others
        yield next(source, None) or next(avoiding if source is others else others)
        number += 1


def _rounds(kinds: list[InstructionType], *, seed: int) -> Iterator[InstructionType]:
    number = 0
    while kinds:
        yield from sorted(kinds, key=lambda kind: hashlib.sha256(f"{seed}:{number}:{kind}".encode()).digest())
        number += 1


def _read_pair(values: object) -> Pair | str:
    if isinstance(values, ValueError):
        return f"not valid JSON: {values}"
    if not isinstance(values, dict):
        return f"a JSON {type(values).__name__}, expected an object"
    ours = {key: value for key, value in values.items() if key in Pair.model_fields and value is not None}
    try:
        return Pair.model_validate_json(json.dumps(ours))
    except ValidationError as error:
        return explain(error)
    except (TypeError, ValueError) as error:
        return f"holds a value that is not text: {error}"
