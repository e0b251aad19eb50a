"""Read passages from a file's rows: `id`, `text`, and anything else as metadata."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from index.metadata import Metadata, storable
from index.rows import Row, read_rows
from infembed.config import shown
from infembed.errors import BadInputError, MissingArtefactError
from infembed.inputs import has_words

MAX_ID_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Passage:
    """One document as its file gives it."""

    id: str
    text: str
    metadata: Metadata = field(default_factory=dict)


def read_passages(path: Path) -> Iterator[Passage]:
    """Yield the passages of a file in order; the first broken row stops the reading and is named."""
    if not path.is_file():
        raise MissingArtefactError(f"no passage file at {path}; give a JSONL, JSONL.gz, CSV or Parquet file")
    seen: dict[str, int] = {}
    for row in read_rows(path):
        passage = _passage(row, f"{path} {row.unit} {row.number}")
        if passage.id in seen:
            raise BadInputError(
                f"{path}: {row.unit}s {seen[passage.id]} and {row.number} have the same id {shown(passage.id)}; "
                "give each document an id of its own"
            )
        seen[passage.id] = row.number
        yield passage
    if not seen:
        raise BadInputError(f"{path} holds no passages")


def _passage(row: Row, where: str) -> Passage:
    if not isinstance(row.values, dict):
        raise BadInputError(f"{where} is a JSON {type(row.values).__name__}, expected an object with `id` and `text`")
    others = dict(row.values)
    identifier = _identifier(others.pop("id", None), where)
    text = others.pop("text", None)
    if not isinstance(text, str) or not has_words(text):
        raise BadInputError(f"{where} (id {shown(identifier)}) has no text; give a string with words under `text`")
    try:
        text.encode()
        metadata = storable(others)
    except ValueError as error:
        raise BadInputError(f"{where} (id {shown(identifier)}) cannot be stored: {error}") from error
    return Passage(identifier, text, metadata)


def _identifier(value: object, where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARACTERS or not _is_unicode(value):
        raise BadInputError(
            f"{where} has id {shown(value)}, expected a string of 1 to {MAX_ID_CHARACTERS} Unicode characters "
            "or a 64-bit integer"
        )
    return value


def _is_unicode(text: str) -> bool:
    """Whether text can be written as UTF-8; JSON's escapes can make a lone half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
