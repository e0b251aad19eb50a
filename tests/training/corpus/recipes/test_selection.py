from collections import Counter

from training.corpus.recipes.selection import MAX_USES, Dropped, Selection
from training.corpus.rows import InstructionType, Row


def _row(query: str, document: str, **more: str) -> Row:
    return Row(
        query_positive=query,
        document_positive=document,
        source="test",
        instruction_type=InstructionType.PLAIN,
        license="CC0",
        **more,
    )


def _rows(n: int) -> list[Row]:
    return [_row(f"query {number}", f"document {number}") for number in range(n)]


def test_a_row_with_a_held_out_document_is_dropped_whatever_its_case_and_spaces() -> None:
    dropped: Counter[Dropped] = Counter()
    rows = [
        _row("where", "The  Harbour"),
        _row("when", "At noon", query_negative="who", hard_negative_document_2="the harbour"),
        _row("who", "The pilot"),
    ]
    kept = list(Selection({"the harbour"}).select(rows, dropped))
    assert [row.query_positive for row in kept] == ["who"]
    assert dropped == {Dropped.HELD_OUT: 2}


def test_the_same_texts_from_another_recipe_are_a_duplicate() -> None:
    dropped: Counter[Dropped] = Counter()
    selection = Selection(set())
    assert len(list(selection.select([_row("tide", "Twice a day.")], dropped))) == 1
    other = _row("Tide", "twice a day.").model_copy(update={"source": "another", "license": "MIT"})
    assert list(selection.select([other], dropped)) == []
    assert dropped == {Dropped.DUPLICATE: 1}


def test_a_document_stands_in_a_bounded_number_of_rows() -> None:
    dropped: Counter[Dropped] = Counter()
    rows = [_row(f"query {number}", "one document for all") for number in range(MAX_USES + 3)]
    assert len(list(Selection(set()).select(rows, dropped))) == MAX_USES
    assert dropped == {Dropped.OVERUSED: 3}


def test_a_cap_chooses_by_digest_and_a_smaller_cap_chooses_some_of_the_same() -> None:
    def kept(max_rows: int, rows: list[Row]) -> list[str]:
        return [row.query_positive for row in Selection(set(), max_rows=max_rows).select(rows, Counter())]

    rows = _rows(50)
    assert kept(20, rows)[:8] == kept(8, rows) == kept(8, rows[::-1])
    assert kept(8, rows) != [row.query_positive for row in rows[:8]]


def test_rows_beyond_the_cap_are_counted() -> None:
    dropped: Counter[Dropped] = Counter()
    assert len(list(Selection(set(), max_rows=3).select(_rows(5), dropped))) == 3
    assert dropped == {Dropped.CAPPED: 2}
