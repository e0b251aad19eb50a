"""Reading the public data sets the suites are built from; docs/data.md says where they come from."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infembed.errors import AlteredArtefactError, MissingArtefactError


def read_text(directory: Path, name: str) -> str:
    """Read a file of a data set, gzipped or not, as text."""
    try:
        return read_bytes(directory, name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise AlteredArtefactError(f"{directory / name} cannot be read: {error}; fetch the data set again") from error


def read_bytes(directory: Path, name: str) -> bytes:
    """Read a file of a data set, gzipped or not."""
    path = directory / name
    if not path.is_file():
        raise MissingArtefactError(f"the data set has no {path}; docs/data.md says where to get it")
    data = path.read_bytes()
    try:
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise AlteredArtefactError(f"{path} cannot be read: {error}; fetch the data set again") from error


def read_jsonl(directory: Path, name: str) -> Iterator[dict[str, Any]]:
    """Read a JSONL file of a data set, one object after the other."""
    # Not splitlines(): JSON strings may hold U+2028 and the like, which it would split at.
    for number, line in enumerate(read_text(directory, name).removesuffix("\n").split("\n"), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AlteredArtefactError(f"{directory / name} line {number} is not valid JSON: {error}") from error
        yield row


def read_smart(text: str) -> Iterator[dict[str, str]]:
    """Read SMART's format: records that begin with `.I number`, fields that begin with `.X`."""
    record: dict[str, list[str]] = {}
    field = ""
    for line in text.splitlines():
        if line.startswith(".I"):
            if record:
                yield {name: "\n".join(lines).strip() for name, lines in record.items()}
            record = {"I": [line[2:].strip()]}
            field = ""
        elif len(line) >= 2 and line[0] == "." and line[1].isupper() and not line[2:].strip():
            field = line[1]
            record.setdefault(field, [])
        elif field:
            record[field].append(line)
    if record:
        yield {name: "\n".join(lines).strip() for name, lines in record.items()}
