import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infembed.errors import AlteredArtefactError, BadArtefactError, BadConfigError, MissingArtefactError
from training.corpus.files import QUARANTINE_FILE, ROWS_FILE, Quarantined, read_corpus, verify_corpus, write_corpus
from training.corpus.rows import Row

PUBLIC = {
    "query_positive": "boiling point of water",
    "instruction_positive": "at altitude",
    "document": "At 3,000 m it boils near 90 degrees.",
    "query_negative": "cooking time of pasta",
    "instruction_negative": "under pressure",
    "hard_negative_document_1": "In a pressure cooker it boils at 120 degrees.",
    "hard_negative_document_2": "High in the Andes spaghetti takes 15 minutes.",
    "instruction_positive_fewshot": "a column of the set's making",
}


def our_rows(n: int) -> list[Row]:
    renamed = {("document_positive" if key == "document" else key): value for key, value in PUBLIC.items()}
    renamed.pop("instruction_positive_fewshot")
    return [
        Row.model_validate({**renamed, "query_positive": f"query {i}", "source": "test", "license": f"L{i % 2}"})
        for i in range(n)
    ]


def test_the_public_sets_columns_load_as_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([PUBLIC]), tmp_path / "msmarco.parquet")
    reading = read_corpus(tmp_path / "msmarco.parquet", source="InF-IR/InF-IR:msmarco")
    (row,) = reading.rows
    assert row.document_positive == PUBLIC["document"]
    assert row.source == "InF-IR/InF-IR:msmarco"
    assert len(row.pairs()) == 3
    assert reading.quarantined == []


def test_the_public_set_is_fetched_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, *, split: str, **_: object) -> Iterator[dict[str, str]]:
        asked.append((name, split))
        yield PUBLIC
        raise ConnectionError("the hub went away")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    reading = read_corpus(Path("InF-IR/InF-IR"))
    assert next(reading.rows).source == "InF-IR/InF-IR:msmarco"
    with pytest.raises(MissingArtefactError, match="the hub went away; download its files"):
        next(reading.rows)
    assert asked == [("InF-IR/InF-IR", "msmarco")]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_broken_rows_are_set_aside_with_their_line_and_the_reason(tmp_path: Path, name: str) -> None:
    lines = [json.dumps(PUBLIC), "{broken", "", "[1]", json.dumps({**PUBLIC, "document": ""}), json.dumps(PUBLIC)]
    text = "\n".join(lines) + "\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    reading = read_corpus(path)
    assert len(list(reading.rows)) == 2
    assert [found.number for found in reading.quarantined] == [2, 4, 5]
    assert "not valid JSON" in reading.quarantined[0].reason
    assert "JSON list" in reading.quarantined[1].reason
    assert "document_positive" in reading.quarantined[2].reason


def test_a_line_that_is_no_text_or_no_json_costs_that_line_only(tmp_path: Path) -> None:
    lines = [json.dumps(PUBLIC).encode(), b'{"document": "caf\xe9"}', b"[" * 100_000, json.dumps(PUBLIC).encode()]
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    reading = read_corpus(tmp_path / "rows.jsonl")
    assert len(list(reading.rows)) == 2
    assert [(found.number, found.reason.split(":")[0]) for found in reading.quarantined] == [
        (2, "not valid UTF-8"),
        (3, "not valid JSON"),
    ]


def test_a_parquet_text_that_is_not_utf8_costs_its_row_only(tmp_path: Path) -> None:
    texts = pa.array([b"tea", b"caf\xe9", b"milk"])
    table = pa.Table.from_pylist([PUBLIC] * 3).drop(["query_positive"])
    table = table.append_column("query_positive", pa.Array.from_buffers(pa.string(), 3, texts.buffers()))
    pq.write_table(table, tmp_path / "rows.parquet")
    reading = read_corpus(tmp_path / "rows.parquet")
    assert [row.query_positive for row in reading.rows] == ["tea", "milk"]
    (found,) = reading.quarantined
    assert found.number == 2
    assert "cannot be read" in found.reason


def test_other_columns_of_a_parquet_file_are_not_even_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([PUBLIC]).append_column("made", pa.array([2**60], pa.timestamp("ms")))
    pq.write_table(table, tmp_path / "rows.parquet")  # a date that Python has no value for
    reading = read_corpus(tmp_path / "rows.parquet")
    assert len(list(reading.rows)) == 1
    assert reading.quarantined == []


def test_a_corpus_reads_back_as_it_was_written(tmp_path: Path) -> None:
    rows = our_rows(5000)
    aside = [Quarantined(7, "no text")]
    manifest = write_corpus(tmp_path / "c", rows, name="test", made_from={"seed": 1}, quarantined=aside)
    assert (manifest.n_rows, manifest.n_quarantined) == (5000, 1)
    assert manifest.licenses == {"L0": 2500, "L1": 2500}
    assert list(read_corpus(tmp_path / "c").rows) == rows
    assert json.loads((tmp_path / "c" / QUARANTINE_FILE).read_text()) == {"number": 7, "reason": "no text"}


def test_an_altered_corpus_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c", our_rows(3), name="test", made_from={})
    with (tmp_path / "c" / ROWS_FILE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(AlteredArtefactError, match="build the corpus again"):
        verify_corpus(tmp_path / "c")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> object:
        yield from our_rows(2)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_corpus(tmp_path / "c", failing(), name="test", made_from={})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("x")
    (tmp_path / "rows.parquet").write_text("x")
    (tmp_path / "rows.jsonl.gz").write_text("x")
    (tmp_path / "damaged.jsonl.gz").write_bytes(gzip.compress(b"x")[:10] + b"\x07")
    (tmp_path / "empty").mkdir()
    for name, error in (
        ("absent.jsonl", MissingArtefactError),
        ("rows.txt", BadConfigError),
        ("rows.parquet", BadArtefactError),
        ("rows.jsonl.gz", BadArtefactError),
        ("damaged.jsonl.gz", BadArtefactError),
        ("empty", MissingArtefactError),
    ):
        with pytest.raises(error):
            list(read_corpus(tmp_path / name).rows)
