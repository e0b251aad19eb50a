import gzip
from pathlib import Path

import pytest

from evaluation.suites.sources import read_jsonl, read_smart, read_text
from infembed.errors import AlteredArtefactError, MissingArtefactError


def test_a_file_is_read_gzipped_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("tea", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"tea"))
    assert read_text(tmp_path, "a.txt") == read_text(tmp_path, "a.txt.gz") == "tea"


def test_a_missing_file_leads_to_the_docs(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match=r"no .*a\.txt; docs/data\.md"):
        read_text(tmp_path, "a.txt")


@pytest.mark.parametrize(
    "data",
    [
        b"tea",
        gzip.compress(b"tea" * 100)[:-9],
        gzip.compress(b"tea")[:10] + b"\x07",
        gzip.compress("tée".encode("latin-1")),
    ],
)
def test_a_file_that_is_no_gzipped_text_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(AlteredArtefactError, match="cannot be read"):
        read_text(tmp_path, "a.gz")


def test_a_text_with_a_unicode_line_separator_stays_one_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "one\u2028row"}\n{"text": "two"}\n', encoding="utf-8")
    assert [row["text"] for row in read_jsonl(tmp_path, "rows.jsonl")] == ["one\u2028row", "two"]


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": 1}\n{"text"\n', encoding="utf-8")
    with pytest.raises(AlteredArtefactError, match="line 2 is not valid JSON"):
        list(read_jsonl(tmp_path, "rows.jsonl"))


def test_smart_records_keep_their_fields_and_lines() -> None:
    text = ".I 1\n.T\nTea\n.W\nIt is grown.\n.5 percent of it\n.I 2 \n.W \nCoffee\n"
    assert list(read_smart(text)) == [
        {"I": "1", "T": "Tea", "W": "It is grown.\n.5 percent of it"},
        {"I": "2", "W": "Coffee"},
    ]
