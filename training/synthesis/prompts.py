"""Prompts as files: `NAME.toml` for each stage, `types.toml` and `examples.toml` which the stages share.

A prompt has a version, which people raise, and a digest of all that decides its words, which nobody can forget to.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from infembed.config import Config, explain
from infembed.errors import BadConfigError
from training.corpus.rows import InstructionType
from training.synthesis.draft import Draft, Stage
from training.synthesis.schemas import LETTERS, Letter

DIRECTORY = Path(__file__).with_name("prompts")
TYPES_FILE = "types.toml"
EXAMPLES_FILE = "examples.toml"


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    content: str


class Definition(Config):
    """What a type of instruction is, and what turns it against a passage."""

    meaning: str
    poison: str


class Example(Config):
    """A worked row, with the reasons that a generator gives on the way."""

    instruction_type: InstructionType
    query_positive: str
    document_positive: str
    met_by: str
    instruction_positive: str
    broken_by: str
    instruction_negative: str
    difference: str
    query_negative: str
    plan_1: str
    hard_negative_document_1: str
    plan_2: str
    hard_negative_document_2: str

    def draft(self) -> Draft:
        """Return the example's row."""
        return Draft(**{name: getattr(self, name) for name in Draft.__dataclass_fields__})

    def reply(self, stage: Stage) -> dict[str, object]:
        """Return what a perfect model would have answered at a stage."""
        match stage:
            case Stage.INSTRUCTION:
                return {"met_by": self.met_by, "fits": True, "instruction": self.instruction_positive}
            case Stage.INSTRUCTION_POISONING:
                return {"broken_by": self.broken_by, "instruction": self.instruction_negative}
            case Stage.QUERY_POISONING:
                return {"difference": self.difference, "query": self.query_negative}
            case Stage.HARD_NEGATIVE_1:
                return {"plan": self.plan_1, "document": self.hard_negative_document_1}
            case Stage.HARD_NEGATIVE_2:
                return {"plan": self.plan_2, "document": self.hard_negative_document_2}
            case Stage.JUDGE:
                raise TypeError("the judge is given no examples")


class Prompt(Config):
    """One stage's words; `$name` stands for a text of the row, and for `type`, `meaning` and `poison`."""

    version: int = Field(ge=1)
    system: str
    user: str


@dataclass(frozen=True)
class Prompts:
    """Every stage's prompt, the definitions of the types, and the examples."""

    by_stage: Mapping[Stage, Prompt]
    definitions: Mapping[InstructionType, Definition]
    examples: Sequence[Example]
    ids: Mapping[Stage, str]
    """`stage@version:digest`, recorded with every answer."""

    def messages(self, stage: Stage, draft: Draft, *, n_examples: int) -> list[Message]:
        """Render the chat that asks a stage's question about a draft."""
        prompt = self.by_stage[stage]
        chat = [Message("system", self._fill(prompt.system, draft))]
        if stage is not Stage.JUDGE:
            for example in self._choose_examples(draft, n_examples):
                chat.append(Message("user", self._fill(prompt.user, example.draft())))
                chat.append(Message("assistant", json.dumps(example.reply(stage), ensure_ascii=False)))
        chat.append(Message("user", self._fill(prompt.user, draft)))
        return chat

    def _choose_examples(self, draft: Draft, n: int) -> list[Example]:
        """Take other types first and the requested one last, next to the question."""
        own = [example for example in self.examples if example.instruction_type is draft.instruction_type]
        others = [example for example in self.examples if example.instruction_type is not draft.instruction_type]
        others.sort(key=lambda example: _digest(example.query_positive, draft.query_positive))
        return [*own, *others][:n][::-1]

    def _fill(self, text: str, draft: Draft) -> str:
        definition = self.definitions[draft.instruction_type]
        order = document_order(draft)
        documents = (draft.document_positive, draft.hard_negative_document_1, draft.hard_negative_document_2)
        shown_as = dict(zip((f"document_{letter}" for letter in order), documents, strict=True))
        values = {**asdict(draft), **definition.model_dump(), **shown_as, "type": draft.instruction_type.value}
        return Template(text).substitute(values)


def document_order(draft: Draft) -> tuple[Letter, ...]:
    """Return the letters under which the judge sees the documents of wishes 1, 2 and 3: shuffled by their digests."""
    documents = (draft.document_positive, draft.hard_negative_document_1, draft.hard_negative_document_2)
    ranks = sorted(range(len(documents)), key=lambda index: (_digest(draft.query_positive, documents[index]), index))
    return tuple(LETTERS[ranks.index(index)] for index in range(len(documents)))


def load_prompts(directory: Path | None = None) -> Prompts:
    """Read every prompt of a directory; None is the one in this package."""
    directory = directory or DIRECTORY
    shared = {name: _read(directory / name) for name in (TYPES_FILE, EXAMPLES_FILE)}
    files = {stage: _read(directory / f"{stage}.toml") for stage in Stage}
    by_stage = {stage: _parse(TypeAdapter(Prompt), directory / f"{stage}.toml", files[stage]) for stage in Stage}
    definitions = _parse(TypeAdapter(dict[InstructionType, Definition]), directory / TYPES_FILE, shared[TYPES_FILE])
    examples = _parse(TypeAdapter(dict[str, list[Example]]), directory / EXAMPLES_FILE, shared[EXAMPLES_FILE]).get(
        "example", []
    )
    missing = [kind for kind in InstructionType if kind is not InstructionType.PLAIN and kind not in definitions]
    if missing:
        raise BadConfigError(f"{directory / TYPES_FILE} does not define {', '.join(missing)}; add a table for each")
    ids = {
        stage: f"{stage}@{by_stage[stage].version}:{_digest(files[stage], *shared.values()).hex()[:12]}"
        for stage in Stage
    }
    prompts = Prompts(by_stage=by_stage, definitions=definitions, examples=examples, ids=ids)
    _try_out(prompts, directory)
    return prompts


def _try_out(prompts: Prompts, directory: Path) -> None:
    draft = Draft(InstructionType.FACET, "query", "passage")
    for stage in Stage:
        try:
            prompts.messages(stage, draft, n_examples=len(prompts.examples))
        except (KeyError, ValueError) as error:
            raise BadConfigError(
                f"{directory / f'{stage}.toml'}: {error} is no placeholder; write $$ for a dollar sign"
            ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise BadConfigError(f"no prompt can be read from {path}: {error}; copy it from {DIRECTORY.name}/") from error


def _parse(kind: TypeAdapter[Any], path: Path, text: str) -> Any:
    try:
        return kind.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadConfigError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise BadConfigError(f"{path}: {explain(error)}") from error


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
