import pytest
from pydantic import ValidationError

from training.corpus.rows import AnchoredPair, InstructionType, Row

FULL = {
    "query_positive": "dough does not rise",
    "instruction_positive": "for somebody without an oven",
    "document_positive": "A pan with a lid bakes flat bread on the stove.",
    "query_negative": "soup is too salty",
    "instruction_negative": "for a bakery",
    "hard_negative_document_1": "Deck ovens want dough at 24 degrees.",
    "hard_negative_document_2": "Simmer a potato in the pot and take it out.",
    "source": "test",
    "instruction_type": "persona",
    "license": "Apache-2.0",
}


def row(**changes: object) -> Row:
    return Row.model_validate({**FULL, **changes})


def test_a_full_row_holds_three_anchored_pairs() -> None:
    assert row().pairs() == [
        AnchoredPair("dough does not rise", "for somebody without an oven", FULL["document_positive"]),
        AnchoredPair("dough does not rise", "for a bakery", "Deck ovens want dough at 24 degrees."),
        AnchoredPair(
            "soup is too salty", "for somebody without an oven", "Simmer a potato in the pot and take it out."
        ),
    ]


def test_a_plain_row_holds_one_pair_without_instruction() -> None:
    plain = Row(
        query_positive="q",
        document_positive="d",
        source="s",
        license="l",
        instruction_type=InstructionType.PLAIN,
    )
    assert plain.pairs() == [AnchoredPair("q", None, "d")]


@pytest.mark.parametrize("blank", ["\n", "\x00", "\u200b \ufeff"])
def test_blank_texts_count_as_absent(blank: str) -> None:
    without = row(query_negative=" ", hard_negative_document_2=blank)
    assert without.query_negative is None
    assert len(without.pairs()) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hard_negative_document_1": None}, "belong together"),
        ({"query_negative": None}, "belong together"),
        ({"instruction_positive": None}, "needs an instruction_positive"),
        ({"instruction_type": "plain"}, "`plain` for rows without"),
        ({"hard_negative_document_2": FULL["document_positive"]}, "equals document_positive"),
        ({"document_positive": "  "}, "document_positive"),
        ({"instruction_type": "mood"}, "instruction_type"),
        ({"query_positive": 3}, "query_positive"),
        ({"mood": "x"}, "Extra inputs"),
    ],
)
def test_rows_that_do_not_hold_together_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        row(**changes)
