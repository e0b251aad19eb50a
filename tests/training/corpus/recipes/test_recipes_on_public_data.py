"""The recipes over the public data sets they are for."""

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from evaluation.suites.catalogue import find_suite
from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.catalogue import RECIPES
from training.corpus.recipes.selection import MAX_USES, Selection, documents_of
from training.corpus.rows import Row
from training.corpus.texts import normalized

pytestmark = pytest.mark.shared_data

_N_ROWS = {
    "medquad": {Split.TRAIN: 9_232, Split.DEV: 1_141, Split.TEST: 2_021},
    "condaqa": {Split.TRAIN: 2_846, Split.DEV: 296, Split.TEST: 468},
    "perspectrum": {Split.TRAIN: 2_626, Split.DEV: 756, Split.TEST: 1_264},
    "fever-symmetric": {Split.TRAIN: 512, Split.DEV: 60, Split.TEST: 710},
    "negation-pairs": {Split.TRAIN: 3_364, Split.DEV: 439, Split.TEST: 697},
    "pubmedqa": {Split.TRAIN: 4_107, Split.DEV: 570, Split.TEST: 873},
    "msdocs": {Split.TRAIN: 3_312, Split.DEV: 384, Split.TEST: 540},
    "netflix": {Split.TRAIN: 5_842, Split.DEV: 779, Split.TEST: 1_160},
    "instructir": {Split.TRAIN: 934, Split.DEV: 138, Split.TEST: 187},
    "keyword": {Split.TRAIN: 5_421, Split.DEV: 653, Split.TEST: 1_195},
    "plain": {Split.TRAIN: 5_047, Split.DEV: 564, Split.TEST: 889},
}
_SUITES = ("medquad", "condaqa", "perspectrum", "fever-symmetric")


@cache
def _rows(name: str, data: Path, split: Split) -> list[Row]:
    recipe = RECIPES[name]
    found = list(recipe.rows(data / recipe.folder, split))
    assert not [row for row in found if isinstance(row, Quarantined)]
    return [row for row in found if isinstance(row, Row)]


def _documents(rows: list[Row]) -> set[str]:
    return {normalized(text) for row in rows for text in documents_of(row)}


@pytest.mark.parametrize("name", _N_ROWS)
def test_the_counts_of_the_docs(name: str, shared_data: Path) -> None:
    found = {split: len(_rows(name, shared_data, split)) for split in Split}
    assert found == _N_ROWS[name]
    text = (Path(__file__).parents[4] / "docs" / "corpus.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    assert f"| {found[Split.TRAIN]:,} | {found[Split.DEV]:,} | {found[Split.TEST]:,} |" in row


@pytest.mark.parametrize("suite", _SUITES)
def test_no_document_of_train_or_dev_is_in_an_evaluation_suite(suite: str, shared_data: Path) -> None:
    tested = {normalized(text) for text in find_suite(suite, data=shared_data).documents.values()}
    for name in _N_ROWS:
        for split in (Split.TRAIN, Split.DEV):
            assert not _selected(name, shared_data, split) & tested, name


@pytest.mark.parametrize("name", _N_ROWS)
def test_splits_share_no_document_once_selected(name: str, shared_data: Path) -> None:
    train, dev, test = (_selected(name, shared_data, split) for split in Split)
    assert not train & dev
    assert not train & test
    assert not dev & test


@pytest.mark.parametrize("suite", _SUITES)
def test_no_query_of_train_or_dev_is_one_of_the_suite(suite: str, shared_data: Path) -> None:
    tested = {normalized(query.text) for query in find_suite(suite, data=shared_data).queries}
    for split in (Split.TRAIN, Split.DEV):
        rows = _rows(suite, shared_data, split)
        assert (
            not {normalized(text) for row in rows for text in (row.query_positive, row.query_negative or "")} & tested
        )


@pytest.mark.parametrize("name", _N_ROWS)
def test_no_document_stands_in_many_rows(name: str, shared_data: Path) -> None:
    kept = Selection(set()).select(_rows(name, shared_data, Split.TRAIN), Counter())
    uses = Counter(text for row in kept for text in {normalized(document) for document in documents_of(row)})
    assert max(uses.values()) <= MAX_USES


@cache
def _selected(name: str, data: Path, split: Split) -> set[str]:
    held_out: set[str] = set()
    if split is not Split.TEST:
        held_out |= _documents(_rows(name, data, Split.TEST))
    if split is Split.TRAIN:
        held_out |= _documents(_rows(name, data, Split.DEV))
    return _documents(list(Selection(held_out).select(_rows(name, data, split), Counter())))
