import random

from tests.training_rows import make_row
from training.corpus.validation.telltales import telltale


def test_a_word_that_gives_negatives_away_is_found_and_chance_is_called_chance() -> None:
    picks = random.Random(0)
    vocabulary = [f"word{i}" for i in range(400)]

    def text() -> str:
        return " ".join(picks.choices(vocabulary, k=30))

    honest = [make_row(document_positive=text(), hard_negative_document_1=text()) for _ in range(200)]
    marked = [make_row(document_positive=text(), hard_negative_document_1=f"{text()} however") for _ in range(200)]
    fair, told = telltale(honest, "hard_negative_document_1"), telltale(marked, "hard_negative_document_1")
    assert fair is not None
    assert told is not None
    assert 0.4 < fair.accuracy < 0.6
    assert told.accuracy > 0.75


def test_a_document_in_many_rows_is_not_remembered_across_folds() -> None:
    """Facets of one subject share pages: a classifier that has seen a page as positive must not be tested on it."""
    picks = random.Random(1)
    pages = [[" ".join(picks.choices([f"w{i}" for i in range(500)], k=25)) for _ in range(2)] for _ in range(40)]
    rows = [
        make_row(query_positive=f"q{n}", document_positive=page[0], hard_negative_document_1=page[1])
        for page in pages
        for n in range(5)
    ]
    found = telltale(rows, "hard_negative_document_1")
    assert found is not None
    assert found.accuracy < 0.65


def test_too_few_rows_give_no_figure() -> None:
    assert telltale([make_row()] * 10, "hard_negative_document_1") is None
