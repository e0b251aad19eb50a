import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.storage import SUITE_FILE, load_suite, save_suite
from infembed.errors import AlteredArtefactError, BadArtefactError, MissingArtefactError


def _suite() -> Suite:
    queries = (
        SuiteQuery(id="tea og", topic="tea", text="tea", instruction="growing\nand brewing", candidates=("d1", "d2")),
        SuiteQuery(
            id="tea:brewed",
            topic="tea",
            text="tea",
            instruction="only brewing",
            instruction_type="facet",
            original="tea og",
            candidates=("d1", "d2"),
        ),
        SuiteQuery(id="plain", topic="plain", text="Kaffee für zwei", excluded=("d1",)),
    )
    return Suite(
        info=SuiteInfo(name="drinks", licence="none", source="made for tests", split="dev", is_paired=True),
        documents={"d1": "how tea\u2028is grown", "d2": 'how "tea" is\tbrewed', "d3": "coffee ☕"},
        queries=queries,
        qrels={"tea og": {"d1": 1, "d2": 1}, "tea:brewed": {"d2": 3, "d1": -1}, "plain": {"d3": 1}},
        qrel_diff={"tea:brewed": ("d1",)},
    )


def _edit(directory: Path, name: str, change: Callable[[str], str]) -> None:
    path = directory / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_a_suite_comes_back_from_its_directory_as_it_was(tmp_path: Path) -> None:
    save_suite(_suite(), tmp_path / "drinks")
    loaded = load_suite(tmp_path / "drinks")
    assert loaded == _suite()
    assert loaded.digest == _suite().digest == json.loads((tmp_path / "drinks" / SUITE_FILE).read_text())["digest"]


def test_an_existing_directory_is_not_overwritten(tmp_path: Path) -> None:
    save_suite(_suite(), tmp_path / "drinks")
    with pytest.raises(BadArtefactError, match="exists already"):
        save_suite(_suite(), tmp_path / "drinks")


def test_a_directory_without_a_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match=f"no suite at {tmp_path}"):
        load_suite(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (SUITE_FILE, lambda text: text.replace('"name"', '"title"'), r"suite\.json: .*name: Field required"),
        (SUITE_FILE, lambda text: text.replace("drinks", "meals").replace("{", "["), r"suite\.json: .*Invalid JSON"),
        ("documents.jsonl", lambda text: text.replace("coffee", "cocoa"), "has the digest"),
        ("documents.jsonl", lambda text: text + text.splitlines()[-1] + "\n", r"line 4: document 'd3' is there twice"),
        ("documents.jsonl", lambda text: text.replace('"text"', '"body"', 1), "line 1: .*text: Field required"),
        ("documents.jsonl", lambda text: text + "oops\n", "line 4: .*Invalid JSON"),
        ("queries.jsonl", lambda text: text.replace('"topic"', '"theme"', 1), "line 1: .*topic: Field required"),
        ("queries.jsonl", lambda text: text.replace("tea:brewed", "tea:cold"), "'tea:cold' has no judgements"),
        ("qrels.tsv", lambda text: text.replace("\t3", "\tvery"), r"line 3: the relevance is 'very'"),
        ("qrels.tsv", lambda text: text.replace("\t3", ""), "line 3 has 2 fields between tabs, expected 3"),
        ("qrels.tsv", lambda text: text + text.splitlines()[0] + "\n", "line 6: document 'd1' is judged twice"),
        ("qrel_diff.tsv", lambda _: "", "'tea:brewed' is changed and withdraws 0"),
        ("qrel_diff.tsv", lambda text: text.strip() + "\t1\n", "line 1 has 3 fields between tabs, expected 2"),
    ],
)
def test_a_broken_directory_is_refused_with_the_place(
    tmp_path: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    save_suite(_suite(), tmp_path / "drinks")
    _edit(tmp_path / "drinks", name, change)
    with pytest.raises(BadArtefactError, match=message):
        load_suite(tmp_path / "drinks")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    save_suite(_suite(), tmp_path / "drinks")
    (tmp_path / "drinks" / "qrels.tsv").unlink()
    with pytest.raises(MissingArtefactError, match=r"the suite has no .*qrels\.tsv"):
        load_suite(tmp_path / "drinks")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    save_suite(_suite(), tmp_path / "drinks")
    path = tmp_path / "drinks" / "documents.jsonl"
    path.write_bytes(path.read_text(encoding="utf-8").replace("☕", "é").encode("latin-1", errors="replace"))
    with pytest.raises(AlteredArtefactError, match="not UTF-8"):
        load_suite(tmp_path / "drinks")
