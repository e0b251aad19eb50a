"""The recipes of documentation, titles, readers, keywords and plain queries over small data sets."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from evaluation.suites.splits import Split
from tests.training.corpus.recipes.small_data import write_pubmedqa
from tests.training.corpus.recipes.small_documentation import (
    write_instructir,
    write_msdocs,
    write_netflix,
    write_remedies,
)
from training.corpus.files import Quarantined
from training.corpus.recipes.catalogue import RECIPES
from training.corpus.recipes.selection import documents_of
from training.corpus.recipes.wordings import all_wordings
from training.corpus.rows import InstructionType, Row

_NAMES = ("msdocs", "netflix", "instructir", "keyword", "plain")
_ALL = pytest.mark.parametrize("name", _NAMES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for write in (write_msdocs, write_netflix, write_instructir, write_remedies, write_pubmedqa):
        write(folder)
    return folder


def _made(name: str, data: Path, split: Split) -> list[Row | Quarantined]:
    recipe = RECIPES[name]
    return list(recipe.rows(data / recipe.folder, split))


def _rows(name: str, data: Path, split: Split = Split.TRAIN) -> list[Row]:
    return [row for row in _made(name, data, split) if isinstance(row, Row)]


def _is_one_of(text: str | None, sections: Iterable[str], *, split: Split = Split.TRAIN) -> bool:
    """Tell whether a text is a wording of the sections with its places filled."""
    patterns = [
        ".+".join(re.escape(part) for part in re.split(r"\{\w+\}", wording))
        for section in sections
        for wording in all_wordings()[section].of(split)
    ]
    return any(re.fullmatch(pattern, text or "") for pattern in patterns)


@_ALL
def test_mixed_recipes_make_the_same_rows_each_time(name: str, data: Path) -> None:
    for split in Split:
        rows = _made(name, data, split)
        assert rows == _made(name, data, split)
        assert any(isinstance(row, Row) for row in rows), split


@_ALL
def test_mixed_recipes_share_no_document_and_no_query_between_splits(name: str, data: Path) -> None:
    found = []
    for split in Split:
        rows = _rows(name, data, split)
        queries = {row.query_positive for row in rows if name != "netflix"}  # themes are asked for in every split
        found.append({text for row in rows for text in documents_of(row)} | queries)
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]


@_ALL
def test_nothing_is_left_unfilled(name: str, data: Path) -> None:
    for row in _rows(name, data):
        texts = [row.query_positive, row.query_negative, row.instruction_positive, row.instruction_negative]
        assert not any("{" in text for text in [*texts, *documents_of(row)] if text)
        assert row.domain


@pytest.mark.parametrize("name", ["msdocs", "netflix", "keyword"])
def test_an_opposite_wish_has_another_document_on_the_same_query(name: str, data: Path) -> None:
    rows = _rows(name, data)
    assert {row.instruction_type for row in rows} >= {InstructionType.EXCLUSION}
    for row in rows:
        assert row.instruction_negative
        assert row.instruction_negative != row.instruction_positive
        assert row.hard_negative_document_1 != row.document_positive


def test_a_part_of_a_page_is_asked_for_and_left_out(data: Path) -> None:
    signs = {"arguments": "metres [in]", "parameters": "metres [in]", "value": "above the quay", "return": "above"}
    rows = [row for row in _rows("msdocs", data) if row.instruction_type in {"facet", "exclusion"}]
    checked = 0
    for row in rows:
        for word, sign in signs.items():
            if re.search(rf"\b{word}", row.instruction_positive or ""):
                is_wanted = row.instruction_type is InstructionType.FACET
                assert (sign in row.document_positive) is is_wanted
                assert (sign in str(row.hard_negative_document_1)) is not is_wanted
                checked += 1
    assert checked


def test_pages_are_searched_by_their_title_without_its_header(data: Path) -> None:
    for row in _rows("msdocs", data):
        title = re.search(r"LiftCrane\d+", row.query_positive)
        assert title
        assert title.group() in row.document_positive
        assert title.group() in str(row.hard_negative_document_1)
        assert not re.search(rf"{title.group()}\b", str(row.hard_negative_document_2))
        assert "Crane.h)" not in row.query_positive


def test_links_to_other_pages_answer_no_exclusion(data: Path) -> None:
    for row in _rows("msdocs", data):
        if row.instruction_type is InstructionType.EXCLUSION:
            assert "GreaseCrane" not in row.document_positive


def test_a_short_statement_and_a_long_explanation_are_told_apart(data: Path) -> None:
    rows = [row for row in _rows("msdocs", data) if row.instruction_type is InstructionType.DETAIL]
    assert rows
    for row in rows:
        is_brief = len(row.document_positive) < len(str(row.hard_negative_document_1))
        assert _is_one_of(row.instruction_positive, ["msdocs.detail.brief" if is_brief else "msdocs.detail.full"])
        assert _is_one_of(row.instruction_negative, ["msdocs.detail.full" if is_brief else "msdocs.detail.brief"])


def test_a_list_and_prose_are_told_apart(data: Path) -> None:
    rows = [row for row in _rows("msdocs", data) if row.instruction_type is InstructionType.FORMAT]
    assert rows
    for row in rows:
        is_list = "- grease" in row.document_positive
        assert ("- grease" in str(row.hard_negative_document_1)) is not is_list
        assert _is_one_of(row.instruction_positive, ["msdocs.format.list" if is_list else "msdocs.format.prose"])


def test_a_broken_line_of_documentation_is_set_aside(data: Path) -> None:
    (aside,) = [found for found in _made("msdocs", data, Split.TRAIN) if isinstance(found, Quarantined)]
    assert "passages.jsonl.gz: " in aside.reason


@pytest.mark.parametrize(
    ("facet", "values"),
    [
        ("place", {"Norway", "Chile", "the United States"}),
        ("genre", {"comedy", "drama", "horror"}),
        ("person", {"Ada Ankersen", *(f"Actor {place}" for place in range(24))}),
    ],
)
def test_a_title_has_what_is_asked_for_and_lacks_what_is_left_out(facet: str, values: set[str], data: Path) -> None:
    checked = 0
    for split in Split:
        for row in _rows("netflix", data, split):
            for polarity in ("only", "except"):
                asked = _filled(row.instruction_positive, f"netflix.{facet}.{polarity}", split)
                if asked in values:
                    sign = re.compile(rf"{asked}\b", re.IGNORECASE)
                    assert bool(sign.search(row.document_positive)) is (polarity == "only")
                    assert bool(sign.search(str(row.hard_negative_document_1))) is (polarity == "except")
                    checked += 1
    assert checked


def _filled(text: str | None, section: str, split: Split) -> str | None:
    """Return what fills the place of a wording of a section, if the text is one."""
    for wording in all_wordings()[section].of(split):
        before, _, after = re.sub(r"\{\w+\}", "\0", wording, count=1).partition("\0")
        found = re.fullmatch(f"{re.escape(before)}(.+?){re.escape(after)}", text or "")
        if found:
            return found.group(1)
    return None


def test_titles_of_one_row_are_on_its_queries(data: Path) -> None:
    for row in _rows("netflix", data):
        theme = next(theme for theme in ("pirate", "wedding") if theme in row.query_positive)
        assert theme in row.document_positive
        assert theme in str(row.hard_negative_document_1)
        assert theme not in str(row.hard_negative_document_2)


def test_conjunctions_of_titles_share_a_wish_that_both_fulfil(data: Path) -> None:
    rows = [row for row in _rows("netflix", data) if row.instruction_type is InstructionType.CONJUNCTION]
    assert rows
    for row in rows:
        assert _is_one_of(row.instruction_positive, ["netflix.conjunction.both"])
        assert _is_one_of(row.instruction_negative, ["netflix.conjunction.both"])


def test_a_title_without_data_is_left_out_and_a_broken_one_set_aside(data: Path) -> None:
    found = _made("netflix", data, Split.TRAIN)
    assert not any("Nameless" in text for row in found if isinstance(row, Row) for text in documents_of(row))
    (aside,) = [row for row in found if isinstance(row, Quarantined)]
    assert "release_year" in aside.reason


def test_who_asks_is_no_wish_about_the_subject_so_another_query_fits_as_well(data: Path) -> None:
    for row in _rows("instructir", data):
        assert _is_one_of(row.instruction_positive, ["instructir.role"])
        assert row.instruction_negative is None
        assert "kelp" not in str(row.instruction_positive)
        assert str(row.query_negative).removeprefix("what is ") in str(row.hard_negative_document_2)


def test_a_keyword_is_in_the_documents_that_it_is_asked_of_and_in_no_other(data: Path) -> None:
    words = {"comfrey", "yarrow", "wormwood", "weasel", "otter", "badger"}
    checked = set()
    for split in Split:
        for row in _rows("keyword", data, split):
            for section, is_wanted in (("keyword.include", True), ("keyword.exclude", False)):
                term = _filled(row.instruction_positive, section, split)
                if term in words and row.instruction_type is not InstructionType.CONJUNCTION:
                    assert (term in row.document_positive) is is_wanted
                    assert (term in str(row.hard_negative_document_1)) is not is_wanted
                    if row.hard_negative_document_2 is not None:
                        assert (term in row.hard_negative_document_2) is is_wanted
                    checked.add(is_wanted)
    assert checked == {True, False}


def test_plain_rows_have_no_instruction_and_another_question_on_the_topic_as_negative(data: Path) -> None:
    rows = _rows("plain", data)
    assert {row.source for row in rows} == {f"plain:{name}" for name in ("medquad", "pubmedqa", "msdocs", "instructir")}
    for row in rows:
        assert row.instruction_positive is None
        assert row.query_negative != row.query_positive


def test_plain_questions_do_not_stand_in_their_answers(data: Path) -> None:
    for row in _rows("plain", data):
        assert row.query_positive not in row.document_positive
