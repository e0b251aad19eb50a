import gzip
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
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
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', r"line 2 \(id 'b'\) has no text"),
        ('{"id": "a", "text": "  "}\n', r"line 1 \(id 'a'\) has no text"),
        ('{"id": "a", "text": "\\u200b\\u0000"}\n', r"line 1 \(id 'a'\) has no text"),
        ('{"id": "a", "text": 5}\n', r"line 1 \(id 'a'\) has no text"),
        ('{"text": "x"}\n', "line 1 has id None"),
        ('{"id": true, "text": "x"}\n', "line 1 has id True"),
        ('{"id": "", "text": "x"}\n', "line 1 has id ''"),
        ('{"id": "a", "text": "x"}\n\n{"id": "a", "text": "y"}\n', "lines 1 and 3 have the same id 'a'"),
        ('{"id": "a", "text": "x"}\n{"id":\n', "line 2 is not valid JSON"),
        ('{"id": "a", "text": "x", "score": NaN}\n', "NaN is not a JSON value"),
        ('["a", "x"]\n', "line 1 is a JSON list"),
        ('{"id": "a", "text": "x\\ud800"}\n', "cannot be stored"),
        ('{"id": "a\\ud800", "text": "x"}\n', r"line 1 has id 'a\\ud800', expected"),
        ('{"id": "a", "text": "x", "m": ["\\ud800"]}\n', r"\(id 'a'\) cannot be stored: '\\ud800' in its metadata"),
        ('{"id": "a", "text": "x", "\\ud800": 1}\n', r"line 1 \(id 'a'\) cannot be stored: '\\ud800' in its metadata"),
        ('{"id": "a", "text": "x", "n": 18446744073709551616}\n', r"line 1 \(id 'a'\) .*more than 64 bits"),
        ('{"id": "a", "text": "x", "n": {"m": [-9223372036854775809]}}\n', r"line 1 \(id 'a'\) .*more than 64 bits"),
        ('{"id": "a", "text": "x", "n": 1e999}\n', r"line 1 \(id 'a'\) .*infinite"),
        ('{"id": "a", "text": "x", "n": ' + "[" * 65 + "]" * 65 + "}\n", r"line 1 \(id 'a'\) .*more than 64 deep"),
        ('{"id": "a", "text": "x"}\n' + "[" * 100_000 + "\n", "line 2 is nested too deeply"),
        ('{"id": 18446744073709551616, "text": "x"}\n', "line 1 has id 18446744073709551616, expected"),
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


def test_what_an_answer_can_carry_is_kept(tmp_path: Path) -> None:
    nested = json.loads("[" * 64 + "]" * 64)
    row = {"id": "a", "text": "x", "numbers": [-(2**63), 2**64 - 1, 1.5, None, True], "nested": nested}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row))
    (passage,) = read_passages(path)
    assert passage.metadata == {"numbers": row["numbers"], "nested": nested}
    assert orjson.loads(orjson.dumps(passage.metadata)) == passage.metadata


def test_a_corrupt_gzip_body_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(_jsonl(ROWS).encode())[:10] + b"\xff" * 30)
    with pytest.raises(BadInputError, match="not complete gzip data: Error -3"):
        list(read_passages(path))


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, name: str) -> None:
    text = "id,text\na,first\n" if name.endswith("csv") else '{"id": "a", "text": "first"}\n'
    data = text.encode("utf-8-sig")
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert list(read_passages(path)) == [Passage("a", "first")]


def test_csv_texts_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"id,text\na,{'x' * 200_000}\n")
    (passage,) = read_passages(path)
    assert len(passage.text) == 200_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,text,text\na,x,y\n", r"line 1 \(the header\) names the column 'text' twice"),
        ("id,body\na,x\n", r"line 1 \(the header\) has no column 'text', only \['id', 'body'\]"),
        ("", r"line 1 \(the header\) has no column 'id'"),
        ('id,text\n"a","two\nlines"\n\nb,x,surplus\n', "line 5 has 3 fields, the header has 2"),
        ('id,text\na,"two\nlines"\na,x\n', "lines 2 and 4 have the same id 'a'"),
        ('id,text\na,"open\n', "line 2 is not valid CSV"),
    ],
)
def test_a_fault_of_a_csv_file_names_the_line_where_it_stands(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=expected):
        list(read_passages(path))


def test_what_pandas_writes_for_missing_is_missing(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["x", "y"], "n": [1.5, float("nan")], "l": [[float("nan")], [0.5]]})
    path = tmp_path / "p.parquet"
    pq.write_table(table, path)
    assert [p.metadata for p in read_passages(path)] == [{"n": 1.5, "l": [None]}, {"l": [0.5]}]


NANOSECONDS = 1_700_000_000_123_456_789
MOMENT = "2023-11-14 22:13:20.123456789"


def _moments(path: Path) -> Path:
    kind = pa.timestamp("ns")
    columns = {
        "id": pa.array(["a"]),
        "text": pa.array(["x"]),
        "at": pa.array([NANOSECONDS], kind),
        "all": pa.array([[NANOSECONDS]], pa.list_(kind)),
        "in": pa.array([{"at": NANOSECONDS}], pa.struct([("at", kind)])),
        "day": pa.array([19_000], pa.date32()),
        "took": pa.array([1500], pa.duration("ns")),
    }
    pq.write_table(pa.table(columns), path)
    return path


MOMENTS = {"at": MOMENT, "all": [MOMENT], "in": {"at": MOMENT}, "day": "2022-01-08", "took": "0:00:00.000001"}


def test_nanoseconds_become_text(tmp_path: Path) -> None:
    assert [p.metadata for p in read_passages(_moments(tmp_path / "p.parquet"))] == [MOMENTS]


@pytest.mark.slow
def test_nanoseconds_need_no_pandas(tmp_path: Path) -> None:
    path = _moments(tmp_path / "p.parquet")
    code = f"""
        import sys
        from pathlib import Path

        class NoPandas:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "pandas":
                    raise ImportError(name)

        sys.meta_path.insert(0, NoPandas())
        from index.passages import read_passages
        print([p.metadata for p in read_passages(Path({str(path)!r}))] == [{MOMENTS!r}])
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "True\n"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2**62], pa.timestamp("us")), "holds a value that cannot be read"),
        (
            pa.StringArray.from_buffers(1, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")),
            "valid UTF-8",
        ),
    ],
    ids=["a moment outside the calendar", "text that is not UTF-8"],
)
def test_a_parquet_value_that_python_cannot_hold_is_named(tmp_path: Path, column: pa.Array, expected: str) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["x"], "extra": column}), path)
    with pytest.raises(BadInputError, match=expected):
        list(read_passages(path))


@pytest.mark.parametrize("damage", ["header", "footer", "half"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: str) -> None:
    path = _moments(tmp_path / "p.parquet")
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[4:64] = b"\xff" * 60
    elif damage == "footer":
        data[-40:-8] = b"\xff" * 32
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="Parquet"):
        list(read_passages(path))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (pa.table({"id": ["a"], "body": ["x"]}), "has no column 'text'"),
        (pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "text", "text"]), "names the column 'text' twice"),
    ],
    ids=["missing", "twice"],
)
def test_the_columns_of_a_parquet_file_are_checked_first(tmp_path: Path, table: pa.Table, expected: str) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(table, path)
    with pytest.raises(BadInputError, match=expected):
        list(read_passages(path))


def test_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(_jsonl(ROWS).encode())[:-20])
    with pytest.raises(BadInputError, match="not complete gzip"):
        list(read_passages(path))


def test_a_csv_row_with_too_many_fields_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,text\na,x\nb,y,z\n")
    with pytest.raises(BadInputError, match="line 3 has 3 fields, the header has 2"):
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
