"""`infembed corpus build` as its users meet it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.suites.splits import Split
from infembed.cli import UNUSABLE
from tests.command_line import Command, Ended
from tests.training.corpus.recipes.small_data import write_condaqa, write_fever_symmetric, write_medquad
from training.corpus.files import QUARANTINE_FILE, ROWS_FILE, read_corpus
from training.corpus.recipes.build import CARD_FILE, build_corpus
from training.corpus.recipes.recipe import Found, Recipe, make_row
from training.corpus.recipes.selection import Dropped, documents_of


@pytest.fixture
def run(run: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("INFEMBED_DATA", raising=False)
    return lambda *arguments: run("corpus", "build", *arguments)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for write in (write_condaqa, write_fever_symmetric, write_medquad):
        write(folder)
    return folder


def _refusal(ended: Ended) -> str:
    assert ended.code == UNUSABLE, ended
    (line,) = ended.err.splitlines()
    return line


def _plain(name: str, texts: dict[Split, list[str]]) -> Recipe:
    def rows(_: Path, split: Split) -> Iterator[Found]:
        for number, text in enumerate(texts[split], start=1):
            yield make_row(
                number,
                query_positive=f"query {number}",
                document_positive=text,
                source=name,
                instruction_type="plain",
                license="CC0",
            )

    return Recipe(name=name, folder=name, files=(), license="CC0", origin="nowhere", rows=rows)


def _ignore(what: str, done: int, total: int) -> None: ...


def test_a_corpus_is_built_with_a_card(run: Command, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    ended = run("--recipe", "condaqa", "--recipe", "medquad", "--data", data, "--out", out)
    assert ended.code == 0, ended.err
    rows = list(read_corpus(out).rows)
    assert {row.source for row in rows} == {"condaqa", "medquad"}
    assert f"corpus c: {len(rows):,} rows, 0 broken records set aside" in ended.out
    card = (out / CARD_FILE).read_text(encoding="utf-8")
    n_exclusions = sum(row.instruction_type == "exclusion" for row in rows)
    assert f"| medquad | exclusion | {n_exclusions} |" in card
    assert "| polarity.not_no | 20 | 5 |" in card
    assert "https://github.com/abachaa/MedQuAD" in card


def test_the_same_bytes_each_time(run: Command, data: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        out = tmp_path / name / "c"
        assert run("--recipe", "medquad", "--recipe", "condaqa", "--data", data, "--out", out).code == 0
    files = [sorted(path for path in (tmp_path / name / "c").iterdir()) for name in ("first", "second")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_json_says_what_became_of_each_recipe(run: Command, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    ended = run("--recipe", "condaqa", "--max-rows", "5", "--data", data, "--out", out, "--split", "dev", "--json")
    facts = json.loads(ended.out)
    assert (facts["n_rows"], facts["split"], facts["licenses"]) == (5, "dev", {"Apache-2.0, passages CC BY-SA": 5})
    assert facts["recipes"]["condaqa"]["n_rows"] == 5
    assert facts["recipes"]["condaqa"]["n_dropped"]["capped"] > 0


def test_missing_data_are_named_with_where_to_get_them(run: Command, data: Path, tmp_path: Path) -> None:
    (data / "condaqa" / "dev.jsonl.gz").unlink()
    line = _refusal(run("--recipe", "condaqa", "--data", data, "--out", tmp_path / "c"))
    assert f"recipe condaqa needs {data / 'condaqa' / 'dev.jsonl.gz'}, which is not there" in line
    assert "get it from https://github.com/AbhilashaRavichander/CondaQA" in line
    assert not (tmp_path / "c").exists()


def test_a_corpus_that_exists_is_refused_before_the_data_are_read(run: Command, tmp_path: Path) -> None:
    line = _refusal(run("--recipe", "condaqa", "--data", tmp_path / "no-data", "--out", tmp_path))
    assert "exists already" in line


def test_without_a_data_directory_or_with_an_unknown_recipe_nothing_is_built(run: Command, tmp_path: Path) -> None:
    assert "set INFEMBED_DATA or --data" in _refusal(run("--recipe", "condaqa", "--out", tmp_path / "c"))
    line = _refusal(run("--recipe", "conda", "--data", tmp_path, "--out", tmp_path / "c"))
    assert "no recipe is named conda; there are all, " in line
    assert "medquad" in line


def test_broken_records_are_set_aside_with_recipe_file_and_line(run: Command, data: Path, tmp_path: Path) -> None:
    path = data / "condaqa" / "test_from_fewshot_union.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b'{"passage_id": "x"}\n'))
    ended = run("--recipe", "condaqa", "--data", data, "--out", tmp_path / "c")
    assert "1 broken records set aside" in ended.out
    (line,) = (tmp_path / "c" / QUARANTINE_FILE).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["number"] == 181
    assert json.loads(line)["reason"].startswith("condaqa: test_from_fewshot_union.jsonl.gz: ")


def test_an_unreadable_file_is_refused_and_nothing_is_left(run: Command, data: Path, tmp_path: Path) -> None:
    path = data / "condaqa" / "dev.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be read" in _refusal(run("--recipe", "condaqa", "--data", data, "--out", tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_train_shares_no_document_with_the_held_out_splits_of_any_recipe(tmp_path: Path) -> None:
    first = _plain("first", {Split.TRAIN: ["a", "b"], Split.DEV: ["c"], Split.TEST: ["d"]})
    second = _plain("second", {Split.TRAIN: ["C", "e", "d "], Split.DEV: ["f"], Split.TEST: ["b"]})
    built = build_corpus([first, second], tmp_path, tmp_path / "c", split=Split.TRAIN, max_rows=None, progress=_ignore)
    rows = list(read_corpus(tmp_path / "c").rows)
    assert {text for row in rows for text in documents_of(row)} == {"a", "e"}
    assert [outcome.dropped[Dropped.HELD_OUT] for outcome in built.outcomes] == [1, 2]


def test_a_row_that_cannot_be_is_set_aside(tmp_path: Path) -> None:
    recipe = _plain("long", {Split.TRAIN: ["x" * 30_000, "fine"], Split.DEV: [], Split.TEST: []})
    built = build_corpus([recipe], tmp_path, tmp_path / "c", split=Split.TRAIN, max_rows=None, progress=_ignore)
    assert (built.manifest.n_rows, built.manifest.n_quarantined) == (1, 1)
    (found,) = built.outcomes[0].quarantined
    assert found.number == 1
    assert found.reason.startswith("long: document_positive: ")
    assert (tmp_path / "c" / ROWS_FILE).is_file()
