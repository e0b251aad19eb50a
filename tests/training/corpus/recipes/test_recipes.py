"""Each recipe over a small data set in the layout of the public one."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.suites.splits import Split
from tests.training.corpus.recipes.small_data import (
    write_condaqa,
    write_fever_symmetric,
    write_medquad,
    write_negation_pairs,
    write_perspectrum,
    write_pubmedqa,
)
from training.corpus.files import Quarantined
from training.corpus.recipes.catalogue import RECIPES
from training.corpus.recipes.selection import documents_of
from training.corpus.recipes.wordings import all_wordings
from training.corpus.rows import InstructionType, Row

_WRITERS: dict[str, Callable[[Path], None]] = {
    "medquad": write_medquad,
    "condaqa": write_condaqa,
    "perspectrum": write_perspectrum,
    "fever-symmetric": write_fever_symmetric,
    "negation-pairs": write_negation_pairs,
    "pubmedqa": write_pubmedqa,
}
_ALL = pytest.mark.parametrize("name", _WRITERS)


def _made(name: str, data: Path, split: Split) -> list[Row | Quarantined]:
    recipe = RECIPES[name]
    if not (data / recipe.folder).exists():
        _WRITERS[name](data)
    return list(recipe.rows(data / recipe.folder, split))


def _rows(name: str, data: Path, split: Split = Split.TRAIN) -> list[Row]:
    return [row for row in _made(name, data, split) if isinstance(row, Row)]


@_ALL
def test_every_split_has_rows_and_they_are_the_same_each_time(name: str, tmp_path: Path) -> None:
    for split in Split:
        rows = _made(name, tmp_path, split)
        assert rows == _made(name, tmp_path, split)
        assert any(isinstance(row, Row) for row in rows), split


@_ALL
def test_splits_share_no_document(name: str, tmp_path: Path) -> None:
    found = [{text for row in _rows(name, tmp_path, split) for text in documents_of(row)} for split in Split]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]


@_ALL
def test_a_row_has_an_opposite_wish_and_says_its_source_and_licence(name: str, tmp_path: Path) -> None:
    for row in _rows(name, tmp_path):
        assert row.instruction_negative
        assert row.instruction_negative != row.instruction_positive
        assert (row.source, row.license) == (name, RECIPES[name].license)
        assert row.domain
        assert "{" not in f"{row.query_positive}{row.instruction_positive}{row.instruction_negative}"


def test_medquad_never_answers_an_exclusion_with_the_page_left_out(tmp_path: Path) -> None:
    rows = [row for row in _rows("medquad", tmp_path) if row.instruction_type is InstructionType.EXCLUSION]
    assert len(rows) == 8
    for row in rows:
        assert "illness of the inner ear" not in " ".join(documents_of(row)), "a general page touches on everything"
        assert row.hard_negative_document_1 is not None
        assert row.hard_negative_document_2 is not None
        name = row.document_positive.split("Thalassitis")[1].split()[0].strip(".,")
        assert f"Thalassitis{name}" in row.query_positive
        assert f"Thalassitis{name}" in row.hard_negative_document_1
        assert f"Thalassitis{name}" not in row.hard_negative_document_2


def test_medquad_asks_for_a_short_and_for_a_long_page_on_one_facet(tmp_path: Path) -> None:
    rows = [row for row in _rows("medquad", tmp_path) if row.instruction_type is InstructionType.DETAIL]
    short = {text for part in all_wordings()["medquad.short"] for text in part}
    assert len(rows) == 8
    for row in rows:
        assert row.hard_negative_document_1 is not None
        is_short = len(row.document_positive) < len(row.hard_negative_document_1)
        assert (row.instruction_positive in short) is is_short


def test_medquad_leaves_out_pages_that_stand_under_two_conditions(tmp_path: Path) -> None:
    write_medquad(tmp_path)
    path = tmp_path / "medquad" / "medquad.jsonl.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    names = sorted(
        {
            row.query_positive.split()[-1].strip("?")
            for row in _rows("medquad", tmp_path)
            if "Thal" in row.query_positive.split()[-1]
        }
    )
    shared = f"Old sailors call {names[0]} and {names[1]} by one name, the sea in the ear."
    lines = [
        f'{{"id": "{name}-x", "focus": "{name}", "synonyms": [], "qtype": "outlook", "answer": "{shared}"}}\n'
        for name in names[:2]
    ]
    path.write_bytes(gzip.compress((text + "".join(lines)).encode()))
    assert not [row for row in _rows("medquad", tmp_path) if shared in documents_of(row)]


def test_condaqa_asks_for_each_answer_and_never_for_spans(tmp_path: Path) -> None:
    rows = _rows("condaqa", tmp_path)
    yes = {text for section in ("polarity.yes", "polarity.not_no") for part in all_wordings()[section] for text in part}
    assert {row.instruction_type for row in rows} == {InstructionType.NEGATION}
    assert any("has a name" in text for row in rows for text in documents_of(row)) is False
    for row in rows:
        assert ("usually" in row.document_positive) is (row.instruction_positive in yes)
        assert row.hard_negative_document_1 is not None
        assert ("usually" in row.hard_negative_document_1) is (row.instruction_negative in yes)


def test_condaqa_keeps_its_dev_file_for_the_test(tmp_path: Path) -> None:
    write_condaqa(tmp_path)
    numbers = {
        split: {row.query_positive.split("mile ")[1][:3] for row in _rows("condaqa", tmp_path, split)}
        for split in Split
    }
    assert numbers[Split.TEST] == {"900", "901", "902"}
    assert numbers[Split.TRAIN] | numbers[Split.DEV] == {str(number) for number in range(101, 160)}


def test_condaqa_leaves_out_passages_of_its_dev_file(tmp_path: Path) -> None:
    documents = {
        text
        for split in (Split.TRAIN, Split.DEV)
        for row in _rows("condaqa", tmp_path, split)
        for text in documents_of(row)
    }
    assert "The ford at mile 101 was usually shallow." in documents
    assert "The ford at mile 100 was usually shallow." not in documents


def test_perspectrum_keeps_a_claim_that_is_also_tested_out(tmp_path: Path) -> None:
    queries = {row.query_positive for row in _rows("perspectrum", tmp_path)}
    assert queries == {f"Village {number} should close its road to cars." for number in (40, 70)}


def test_perspectrum_keeps_perspectives_of_tested_claims_out(tmp_path: Path) -> None:
    assert "Everyone says so." in {
        text for row in _rows("perspectrum", tmp_path, Split.TEST) for text in documents_of(row)
    }
    rows = _rows("perspectrum", tmp_path)
    assert rows
    assert "Everyone says so." not in {text for row in rows for text in documents_of(row)}
    assert {row.domain for row in rows} == {"town planning"}


def test_perspectrum_asks_for_a_side_by_name_or_by_leaving_the_other_out(tmp_path: Path) -> None:
    for row in _rows("perspectrum", tmp_path):
        is_for = "quieter" in row.document_positive
        side = ("stance.support", "stance.spare_oppose") if is_for else ("stance.oppose", "stance.spare_support")
        section = side[row.instruction_type is InstructionType.EXCLUSION]
        assert row.instruction_positive in all_wordings()[section].train


def test_fever_symmetric_drops_what_its_test_file_also_holds(tmp_path: Path) -> None:
    made = {split: {row.query_positive for row in _rows("fever-symmetric", tmp_path, split)} for split in Split}
    assert "Bridge 39 is wooden ." in made[Split.TEST]
    assert "Bridge 39 is wooden ." not in made[Split.TRAIN] | made[Split.DEV]
    assert len(made[Split.TRAIN] | made[Split.DEV]) == 78


def test_fever_symmetric_claims_that_share_their_sentences_lie_in_one_split(tmp_path: Path) -> None:
    train = {row.query_positive.split()[1] for row in _rows("fever-symmetric", tmp_path)}
    dev = {row.query_positive.split()[1] for row in _rows("fever-symmetric", tmp_path, Split.DEV)}
    assert not train & dev


def test_a_negation_quotes_what_is_not_wanted_and_answers_with_the_other_sentence(tmp_path: Path) -> None:
    rows = _rows("negation-pairs", tmp_path)
    quoting = [row for row in rows if row.instruction_type is InstructionType.EXCLUSION]
    assert quoting
    for row in quoting:
        assert str(row.hard_negative_document_1) in str(row.instruction_positive)
        assert row.document_positive in str(row.instruction_negative)
    for row in rows:
        assert row.document_positive.strip(".") not in row.query_positive


def test_a_line_of_negation_pairs_without_two_columns_is_set_aside_by_its_number(tmp_path: Path) -> None:
    aside = [found for found in _made("negation-pairs", tmp_path, Split.TRAIN) if isinstance(found, Quarantined)]
    assert [found.number for found in aside] == [4]
    assert "1 columns, expected sentence and negated" in aside[0].reason


def test_pubmedqa_asks_for_figures_where_they_are(tmp_path: Path) -> None:
    rows = [row for row in _rows("pubmedqa", tmp_path) if row.instruction_type is InstructionType.FORMAT]
    figures = {text for part in all_wordings()["paper.figures"] for text in part}
    assert rows
    for row in rows:
        assert ("9.5 hours" in row.document_positive) is (row.instruction_positive in figures)


def test_pubmedqa_sections_that_overlap_never_withdraw_each_other(tmp_path: Path) -> None:
    for row in _rows("pubmedqa", tmp_path):
        pair = {row.document_positive.split()[0], str(row.hard_negative_document_1).split()[0]}
        assert pair not in ({"Why", "To"}, {"In", "Goats"}) or row.instruction_type is InstructionType.FORMAT


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("medquad", "medquad.jsonl.gz"),
        ("condaqa", "dev.jsonl.gz"),
        ("fever-symmetric", "fever_symmetric_test.jsonl.gz"),
    ],
)
def test_a_broken_line_is_set_aside_and_the_others_are_used(name: str, file: str, tmp_path: Path) -> None:
    _WRITERS[name](tmp_path)
    path = tmp_path / name / file
    path.write_bytes(gzip.compress(b'{"broken\n{"focus": 7}\n{"focus": "\xff"}\n' + gzip.decompress(path.read_bytes())))
    made = _made(name, tmp_path, Split.TEST)
    aside = [found for found in made if isinstance(found, Quarantined)]
    assert [found.number for found in aside] == [1, 2, 3]
    assert all(found.reason.startswith(f"{file}: ") for found in aside)
    assert len(made) > 2
