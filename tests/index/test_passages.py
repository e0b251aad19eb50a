import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.passages import Passage, read_passages
from infembed.errors import BadConfigError, BadInputError, MissingArtefactError

ROWS: list[dict[str, object]] = [
    {"id": "a", "text": "first", "year": 2024},
    {"id": "b", "text": "zweiter \u00e4", "tags": ["x"]},
]
EXPECTED = [Passage("a", "first", {"year": 2024}), Passage("b", "zweiter \u00e4", {"tags": ["x"]})]


def _jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_jsonl_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(_jsonl(ROWS) + "\n")
    assert list(read_passages(path)) == EXPECTED


def test_gzipped_jsonl_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(_jsonl(ROWS).encode()))
    assert list(read_passages(path)) == EXPECTED


def test_csv_is_read_with_its_other_columns_as_metadata(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('id,text,year\na,"first, with comma",2024\n7,second,\n', encoding="utf-8-sig")
    expected = [Passage("a", "first, with comma", {"year": "2024"}), Passage("7", "second", {"year": ""})]
    assert list(read_passages(path)) == expected


def test_parquet_is_read_without_its_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    schema = pa.schema({"id": pa.string(), "text": pa.string(), "year": pa.int64(), "tags": pa.list_(pa.string())})
    pq.write_table(pa.Table.from_pylist(ROWS, schema), path)
    assert list(read_passages(path)) == EXPECTED


def test_numbers_become_string_ids(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 7, "text": "x"}\n')
    assert [p.id for p in read_passages(path)] == ["7"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', r"row 2 \(id 'b'\) has no text"),
        ('{"id": "a", "text": "  "}\n', r"row 1 \(id 'a'\) has no text"),
        ('{"id": "a", "text": 5}\n', r"row 1 \(id 'a'\) has no text"),
        ('{"text": "x"}\n', "row 1 has id None"),
        ('{"id": true, "text": "x"}\n', "row 1 has id True"),
        ('{"id": "", "text": "x"}\n', "row 1 has id ''"),
        ('{"id": "a", "text": "x"}\n\n{"id": "a", "text": "y"}\n', "rows 1 and 3 have the same id 'a'"),
        ('{"id": "a", "text": "x"}\n{"id":\n', "row 2 is not valid JSON"),
        ('{"id": "a", "text": "x", "score": NaN}\n', "NaN is not a JSON value"),
        ('["a", "x"]\n', "row 1 is a JSON list"),
        ('{"id": "a", "text": "\\ud800"}\n', "cannot be stored"),
        ("", "holds no passages"),
    ],
)  # fmt: skip
def test_a_broken_row_is_named(tmp_path: Path, lines: str, expected: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(lines)
    with pytest.raises(BadInputError, match=expected):
        list(read_passages(path))


def test_invalid_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "\xff"}\n')
    with pytest.raises(BadInputError, match="not valid UTF-8"):
        list(read_passages(path))


def test_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(_jsonl(ROWS).encode())[:-20])
    with pytest.raises(BadInputError, match="not complete gzip"):
        list(read_passages(path))


def test_a_csv_row_with_too_many_fields_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,text\na,x\nb,y,z\n")
    with pytest.raises(BadInputError, match="row 3 has another number of fields"):
        list(read_passages(path))


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    path.write_text("no")
    with pytest.raises(BadInputError, match="not a readable Parquet file"):
        list(read_passages(path))


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.xml"
    path.write_text("<a/>")
    with pytest.raises(BadConfigError, match="none of .jsonl"):
        list(read_passages(path))
    with pytest.raises(MissingArtefactError):
        list(read_passages(tmp_path / "absent.jsonl"))
