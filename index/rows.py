"""Rows of JSONL, JSONL.gz, CSV and Parquet files, each with its place in the file."""

import csv
import gzip
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from infembed.config import shown
from infembed.errors import BadConfigError, BadInputError

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("id", "text")
_PARQUET_ROWS = 4096


class Row(NamedTuple):
    """One row as its file gives it, and where it stands: `unit` is "line" where people count lines, else "row"."""

    unit: str
    number: int
    values: object


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file in order; its name says the format. What cannot be read is a BadInputError."""
    name = path.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _json_rows(file, path)
    elif name.endswith((".jsonl.gz", ".ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield from _json_rows(file, path)
    elif name.endswith(".csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _csv_rows(file, path)
    elif name.endswith(".parquet"):
        yield from _parquet_rows(path)
    else:
        raise BadConfigError(f"{path} is none of .jsonl, .jsonl.gz, .csv, .parquet; convert it to one of them")


def _json_rows(file: TextIO, path: Path) -> Iterator[Row]:
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield Row("line", number, json.loads(line, parse_constant=_refuse_constant))
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} after line {number} is not valid UTF-8: {error.reason}") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadInputError(f"{path} after line {number} is not complete gzip data: {error}; copy it again") from error
    except RecursionError as error:
        raise BadInputError(f"{path} line {number} is nested too deeply; flatten it") from error
    except ValueError as error:
        raise BadInputError(f"{path} line {number} is not valid JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def _csv_rows(file: TextIO, path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # the limit of 131,072 characters is the process's; the module has no other
    reader = csv.reader(file, strict=True)
    line = 1
    try:
        names = next(reader, [])
        _require_columns(names, f"{path} line 1 (the header)")
        line = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(names):
                raise BadInputError(f"{path} line {line} has {len(fields)} fields, the header has {len(names)}")
            if fields:
                yield Row("line", line, dict(zip(names, fields, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInputError(f"{path} line {line} is not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} after line {reader.line_num} is not valid UTF-8: {error.reason}") from error


def _require_columns(names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadInputError(f"{where} names the column {shown(twice[0])} twice; rename or remove one of them")
    for name in NEEDED:
        if name not in names:
            raise BadInputError(f"{where} has no column {name!r}, only {shown(list(names))}; add it or rename one")


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _require_columns(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for values in _as_dictionaries(batch):
                    number += 1
                    yield Row("row", number, values)
    except BadInputError:
        raise
    except (pa.ArrowException, OSError) as error:  # Arrow's input errors are plain OSErrors
        raise BadInputError(f"{path} is not a readable Parquet file: {error}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} after row {number} holds text that is not valid UTF-8: {error.reason}") from error
    except (ValueError, OverflowError) as error:
        raise BadInputError(f"{path} after row {number} holds a value that cannot be read: {error}") from error


def _as_dictionaries(batch: "pa.RecordBatch") -> Iterator[Mapping[str, object]]:
    """Give rows without their missing cells; pandas writes NaN for those."""
    columns = [column.cast(_readable(column.type), safe=False).to_pylist() for column in batch.columns]
    for values in zip(*columns, strict=True):
        yield {
            name: value
            for name, value in zip(batch.schema.names, values, strict=True)
            if value is not None and value == value  # noqa: PLR0124 - NaN differs from itself
        }


def _readable(kind: "pa.DataType") -> "pa.DataType":
    """Return the type to read a column as: Python has no nanoseconds, which are pandas' own unit."""
    import pyarrow as pa

    if kind == pa.time64("ns") or (pa.types.is_timestamp(kind) and kind.unit == "ns"):
        return pa.string()
    if kind == pa.duration("ns"):
        return pa.duration("us")
    if pa.types.is_list(kind):
        return pa.list_(_readable(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _readable(field.type)) for field in kind])
    return kind
