"""Read passages from JSONL, JSONL.gz, CSV or Parquet: `id`, `text`, and anything else as metadata."""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pydantic import JsonValue

from infembed.errors import BadConfigError, BadInputError, MissingArtefactError

Metadata = dict[str, JsonValue]
MAX_ID_CHARACTERS = 512
_PARQUET_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Passage:
    """One document as its file gives it."""

    id: str
    text: str
    metadata: Metadata = field(default_factory=dict)


def read_passages(path: Path) -> Iterator[Passage]:
    """Yield the passages of a file in order; the first broken row stops the reading and is named."""
    if not path.is_file():
        raise MissingArtefactError(f"no passage file at {path}")
    rows = _rows(path)
    seen: dict[str, int] = {}
    for number, row in rows:
        passage = _passage(row, f"{path} row {number}")
        if passage.id in seen:
            raise BadInputError(f"{path}: rows {seen[passage.id]} and {number} have the same id {passage.id!r}")
        seen[passage.id] = number
        yield passage
    if not seen:
        raise BadInputError(f"{path} holds no passages")


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    name = path.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        with path.open(encoding="utf-8", newline="") as file:
            yield from _json_rows(file, path)
    elif name.endswith((".jsonl.gz", ".ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield from _json_rows(file, path)
    elif name.endswith(".csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _csv_rows(file, path)
    elif name.endswith(".parquet"):
        yield from _parquet_rows(path)
    else:
        raise BadConfigError(f"{path} is none of .jsonl, .jsonl.gz, .csv, .parquet; convert it to one of them")


def _json_rows(file: TextIO, path: Path) -> Iterator[tuple[int, object]]:
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, json.loads(line, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} after row {number} is not valid UTF-8: {error.reason}") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadInputError(f"{path} after row {number} is not complete gzip data: {error}") from error
    except ValueError as error:
        raise BadInputError(f"{path} row {number} is not valid JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def _csv_rows(file: TextIO, path: Path) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(file, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadInputError(f"{path} row {reader.line_num} has another number of fields than the header")
            yield reader.line_num, row
    except csv.Error as error:
        raise BadInputError(f"{path} row {reader.line_num} is not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} after row {reader.line_num} is not valid UTF-8: {error.reason}") from error


def _parquet_rows(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {key: value for key, value in row.items() if value is not None}
    except pa.ArrowException as error:
        raise BadInputError(f"{path} is not a readable Parquet file: {error}") from error


def _passage(row: object, where: str) -> Passage:
    if not isinstance(row, dict):
        raise BadInputError(f"{where} is a JSON {type(row).__name__}, expected an object with `id` and `text`")
    metadata = dict(row)
    identifier, text = metadata.pop("id", None), metadata.pop("text", None)
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or not 0 < len(identifier) <= MAX_ID_CHARACTERS:
        raise BadInputError(
            f"{where} has id {identifier!r}, expected a string of 1 to {MAX_ID_CHARACTERS} characters or an integer"
        )
    if not isinstance(text, str) or not text.strip():
        raise BadInputError(f"{where} (id {identifier!r}) has no text; give a non-empty string under `text`")
    try:
        metadata = json.loads(json.dumps(metadata, allow_nan=False, default=_plain))
        text.encode()
    except ValueError as error:
        raise BadInputError(f"{where} (id {identifier!r}) cannot be stored: {error}") from error
    return Passage(identifier, text, metadata)


def _plain(value: object) -> str:
    """Dates and decimals of Parquet become text."""
    return str(value)
