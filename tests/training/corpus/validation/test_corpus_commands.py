import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from evaluation.suites.builtin import BUILTIN
from evaluation.suites.storage import save_suite
from infembed.cli import UNUSABLE, CommandGroup
from tests.training.corpus.validation.test_decontamination import PAGE, suite
from tests.training_rows import VALUES
from training.corpus.cli import app
from training.corpus.files import read_corpus
from training.corpus.mini import DIRECTORY


def run(*arguments: object) -> tuple[int, str]:
    command = typer.Typer(cls=CommandGroup)
    command.add_typer(app, name="corpus")
    result = CliRunner().invoke(command, ["corpus", *map(str, arguments)])
    return result.exit_code, result.output


def write(path: Path, *rows: dict[str, object] | str) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_a_clean_file_is_zero_and_a_fault_is_one(tmp_path: Path) -> None:
    assert run("validate", write(tmp_path / "good.jsonl", VALUES))[0] == 0
    code, output = run("validate", write(tmp_path / "bad.jsonl", VALUES, VALUES, "{half"))
    assert code == 1
    assert "FAULT duplicate" in output
    assert "row 3: not valid JSON" in output


def test_json_and_page_carry_the_same_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", VALUES, VALUES, {**VALUES, "source": "<b>$x_1$</b>", "query_positive": "x"})
    code, output = run("validate", path, "--json", "--html", tmp_path / "page.html")
    report = json.loads(output.splitlines()[-1])
    page = (tmp_path / "page.html").read_text()
    assert code == 1
    assert report["problems"]["duplicate"]["n_rows"] == 1
    assert report["sources"] == {"test": 2, "<b>$x_1$</b>": 1}
    assert report["lengths"]["query_positive"]["n_texts"] == 3
    assert "the same as row 1" in page
    assert "<b>$x_1$" not in page
    assert "mathdefault" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_an_empty_file_is_reported_as_empty(tmp_path: Path) -> None:
    code, output = run("validate", write(tmp_path / "rows.jsonl"), "--html", tmp_path / "page.html")
    assert code == 0
    assert "0 rows" in output
    assert (tmp_path / "page.html").exists()


def test_a_missing_corpus_is_one_sentence(tmp_path: Path) -> None:
    code, output = run("validate", tmp_path / "nothing.jsonl")
    assert code == UNUSABLE
    assert output.count("\n") == 1
    assert "no corpus at" in output


def test_a_place_where_nothing_can_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    for arguments in (
        ("validate", tmp_path / "nothing.jsonl", "--html", tmp_path / "absent" / "page.html"),
        ("validate", tmp_path / "nothing.jsonl", "--html", tmp_path),
        ("decontaminate", tmp_path / "nothing.jsonl", "--topic-id", "q1", "--out", tmp_path),
    ):
        code, output = run(*arguments)
        assert code == UNUSABLE
        assert output.count("\n") == 1
        assert "no corpus at" not in output


def test_decontamination_keeps_the_removed_rows_with_reasons(tmp_path: Path) -> None:
    save_suite(suite(), tmp_path / "garden")
    path = write(tmp_path / "rows.jsonl", VALUES, {**VALUES, "document_positive": PAGE}, "{half")
    code, output = run("decontaminate", path, "--suite", tmp_path / "garden", "--out", tmp_path / "clean")
    assert code == 0
    assert "1 rows kept, 1 taken out" in output
    removed = [json.loads(line) for line in (tmp_path / "clean" / "removed.jsonl").read_text().splitlines()]
    assert removed == [{"number": 2, "overlap": "document", "detail": "garden d"}]
    assert len(list(read_corpus(tmp_path / "clean").rows)) == 1
    assert "not valid JSON" in (tmp_path / "clean" / "quarantine.jsonl").read_text()


def test_topics_are_excluded_by_id_and_an_unknown_id_is_refused(tmp_path: Path) -> None:
    topics = tmp_path / "topics.txt"
    topics.write_text("<top><num> Number: 301 <title> Keep slugs off lettuce </top><top><num> 302 <title> Peas </top>")
    path = write(tmp_path / "rows.jsonl", VALUES, {**VALUES, "query_positive": "peas", "topic_id": 302})
    assert (
        "1 rows kept" in run("decontaminate", path, "--topics", topics, "--topic-id", 301, "--out", tmp_path / "a")[1]
    )
    assert "1 rows kept" in run("decontaminate", path, "--topic-id", "302", "--out", tmp_path / "b")[1]
    assert "0 rows kept" in run("decontaminate", path, "--topics", topics, "--out", tmp_path / "c")[1]
    code, output = run("decontaminate", path, "--topics", topics, "--topic-id", "999", "--out", tmp_path / "d")
    assert code == UNUSABLE
    assert "no topic 999" in output
    assert not (tmp_path / "d").exists()


def test_protecting_nothing_is_refused(tmp_path: Path) -> None:
    code, output = run("decontaminate", write(tmp_path / "rows.jsonl", VALUES), "--out", tmp_path / "clean")
    assert code == UNUSABLE
    assert "nothing to protect" in output


@pytest.mark.slow
def test_inf_ir_mini_has_no_fault_and_shares_nothing_with_the_suites_it_is_tested_on(tmp_path: Path) -> None:
    code, output = run("validate", DIRECTORY, "--json")
    report = json.loads(output.splitlines()[-1])
    assert code == 0
    # The same documents stand under several wishes, so one is right under one and wrong under another;
    # tests/training/corpus/test_mini.py: no two rows ask the same.
    assert {name for name, found in report["problems"].items() if found["n_rows"]} == {
        "near-duplicate",
        "shared negative",
    }
    assert all(accuracy < 0.6 for accuracy in report["telltale"].values())
    suites = [argument for name in BUILTIN for argument in ("--suite", name)]
    _, output = run("decontaminate", DIRECTORY, *suites, "--out", tmp_path / "clean")
    # One query about adoption is a suite's as well, with other documents and other wishes.
    assert "20,872 rows kept, 3 taken out (0 for a topic, 3 for a query, 0 for a document)" in output
