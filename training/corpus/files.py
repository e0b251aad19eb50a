"""Corpora on disk: JSONL and Parquet files, the public set, and our own directory with a manifest.

A broken row never stops the reading and never vanishes: it goes to `Reading.quarantined` with its line and the reason.
"""

import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, JsonValue, ValidationError

from infembed import version
from infembed.artefacts import FileEntry, describe_file, new_directory, verify_files
from infembed.config import Config, explain, parse_json
from infembed.errors import AlteredArtefactError, BadArtefactError, BadConfigError, MissingArtefactError
from training.corpus.rows import Row

PUBLIC_SET = "InF-IR/InF-IR"
MANIFEST_FILE = "manifest.json"
ROWS_FILE = "rows.parquet"
QUARANTINE_FILE = "quarantine.jsonl"
SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=not info.is_required()) for name, info in Row.model_fields.items()]
)
_BATCH_ROWS = 4096
_REMEDY = "build the corpus again (`infembed corpus build`)"


class Quarantined(NamedTuple):
    """A row that could not be read: its line or row number from 1, and why."""

    number: int
    reason: str


@dataclass
class Reading:
    """Rows as they are read, and what was set aside; complete once `rows` is exhausted."""

    rows: Iterator[Row]
    quarantined: list[Quarantined] = field(default_factory=list)


class CorpusManifest(Config):
    """What a corpus is and what made it."""

    schema_version: Literal[1] = 1
    name: str
    n_rows: int = Field(ge=0)
    n_quarantined: int = Field(ge=0)
    licenses: dict[str, int] = Field(description="rows by licence")
    made_from: dict[str, JsonValue] = Field(description="configuration and digests of the inputs")
    made_with: dict[str, str] = Field(default_factory=lambda: {"inf-embed": version()})
    files: tuple[FileEntry, ...] = ()


def read_corpus(path: Path, *, source: str | None = None, license_: str = "unknown") -> Reading:
    """Read a corpus directory, a `.jsonl`, `.jsonl.gz` or `.parquet` file of rows, or `InF-IR/InF-IR` from the hub.

    `source` and `license_` are for files whose rows do not say, such as the public set's.
    """
    if path.is_dir():
        return read_corpus(verify_corpus(path))
    if not path.is_file():
        if str(path) == PUBLIC_SET:
            return read_public()
        raise MissingArtefactError(f"no corpus at {path}")
    return _reading(raw_rows(path, columns=_COLUMNS), {"source": source or path.name, "license": license_})


def raw_rows(path: Path, *, columns: Collection[str]) -> Iterator[tuple[int, object]]:
    """Yield the number, from 1, and the contents of each row of a file; a `ValueError` says why one cannot be read.

    `columns` are the names to read of a Parquet file; rows of JSON come as they are.
    """
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _json_rows(path, is_gzip=name.endswith(".gz"))
    if name.endswith(".parquet"):
        return _parquet_rows(path, columns)
    raise BadConfigError(f"{path} is none of .jsonl, .jsonl.gz, .parquet or a corpus directory; convert it to one")


def read_public(*, split: str = "msmarco", revision: str | None = None) -> Reading:
    """Load the public set from the hub by its own column names; only `msmarco` holds no FollowIR topics."""
    defaults = {"source": f"{PUBLIC_SET}:{split}", "license": "see the data set's card"}
    return _reading(_hub_rows(split, revision), defaults)


def _hub_rows(split: str, revision: str | None) -> Iterator[tuple[int, object]]:
    from datasets import load_dataset

    try:
        for number, row in enumerate(load_dataset(PUBLIC_SET, split=split, revision=revision, streaming=True), start=1):
            yield number, dict(row)
    except (OSError, ValueError) as error:
        raise MissingArtefactError(
            f"{PUBLIC_SET} ({split}) cannot be fetched: {error}; download its files and pass their path instead"
        ) from error


def write_corpus(
    out: Path,
    rows: Iterable[Row],
    *,
    name: str,
    made_from: Mapping[str, JsonValue],
    quarantined: Sequence[Quarantined] = (),
    extra_files: Mapping[str, str] | None = None,
) -> CorpusManifest:
    """Write a corpus directory, whole or not at all; `out` must not exist. `extra_files` are texts by file name."""
    licenses: dict[str, int] = {}
    n_rows = 0
    with new_directory(out) as directory:
        with pq.ParquetWriter(directory / ROWS_FILE, SCHEMA, compression="zstd") as writer:
            for batch in _batched(rows):
                for row in batch:
                    licenses[row.license] = licenses.get(row.license, 0) + 1
                writer.write_table(pa.Table.from_pylist([row.model_dump(mode="json") for row in batch], SCHEMA))
                n_rows += len(batch)
        lines = [json.dumps(found._asdict(), ensure_ascii=False) + "\n" for found in quarantined]
        files = {QUARANTINE_FILE: "".join(lines), **(extra_files or {})}
        for file_name, text in files.items():
            (directory / file_name).write_text(text, encoding="utf-8")
        manifest = CorpusManifest(
            name=name,
            n_rows=n_rows,
            n_quarantined=len(quarantined),
            licenses=dict(sorted(licenses.items())),
            made_from=dict(made_from),
            files=tuple(describe_file(directory, entry) for entry in sorted([ROWS_FILE, *files])),
        )
        (directory / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def verify_corpus(directory: Path) -> Path:
    """Check a corpus directory against its manifest; returns the file with its rows."""
    if not (directory / MANIFEST_FILE).is_file():
        raise MissingArtefactError(f"no corpus at {directory} (no {MANIFEST_FILE} there); {_REMEDY}")
    manifest = parse_json(CorpusManifest, directory / MANIFEST_FILE, remedy=_REMEDY)
    verify_files(directory, manifest.files, remedy=_REMEDY)
    if ROWS_FILE not in {entry.name for entry in manifest.files}:
        raise AlteredArtefactError(f"{directory / MANIFEST_FILE} does not list {ROWS_FILE}; {_REMEDY}")
    return directory / ROWS_FILE


def _reading(raw: Iterable[tuple[int, object]], defaults: Mapping[str, str]) -> Reading:
    reading = Reading(iter(()))
    reading.rows = _rows(raw, defaults, reading.quarantined)
    return reading


def _rows(raw: Iterable[tuple[int, object]], defaults: Mapping[str, str], aside: list[Quarantined]) -> Iterator[Row]:
    for number, values in raw:
        if isinstance(values, ValueError):
            aside.append(Quarantined(number, str(values)))
        elif not isinstance(values, dict):
            aside.append(Quarantined(number, f"a JSON {type(values).__name__}, expected an object"))
        else:
            try:
                yield Row.model_validate_json(json.dumps({**defaults, **_as_ours(values)}))
            except ValidationError as error:
                aside.append(Quarantined(number, explain(error)))
            except (TypeError, ValueError) as error:
                aside.append(Quarantined(number, f"holds a value that is not text: {error}"))


_OUR_NAMES = {"document": "document_positive", "query_id": "source_id", "qid": "source_id", "topic_id": "source_id"}
_COLUMNS = frozenset({*Row.model_fields, *_OUR_NAMES})


def _as_ours(values: dict[str, Any]) -> dict[str, Any]:
    """Rename the public set's columns and keep those that are ours; its other columns carry its making."""
    renamed = {_OUR_NAMES.get(key, key): value for key, value in values.items()}
    if isinstance(number := renamed.get("source_id"), int):
        renamed["source_id"] = str(number)
    return {key: value for key, value in renamed.items() if key in Row.model_fields and value is not None}


def _json_rows(path: Path, *, is_gzip: bool) -> Iterator[tuple[int, object]]:
    number = 0
    try:
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parse(line)
    except (OSError, EOFError, zlib.error) as error:
        raise BadArtefactError(f"{path} cannot be read after line {number}: {error}; copy it again") from error


def _parse(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return ValueError(f"not valid UTF-8: {error}")
    except (ValueError, RecursionError) as error:
        return ValueError(f"not valid JSON: {error}")


def _parquet_rows(path: Path, columns: Collection[str]) -> Iterator[tuple[int, object]]:
    try:
        with pq.ParquetFile(path) as file:
            ours = [name for name in file.schema_arrow.names if name in columns]
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=ours):
                for row in _records(batch):
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise BadArtefactError(f"{path} is not a readable Parquet file: {error}; copy it again") from error


def _records(batch: pa.RecordBatch) -> list[object]:
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date beyond Python's
        if batch.num_rows == 1:
            return [ValueError(f"holds a value that cannot be read: {error}")]
        return [record for place in range(batch.num_rows) for record in _records(batch.slice(place, 1))]


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
