"""What a batch contrasts with what: every negative that counts, and none that is only taken for one."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training_rows import make_row
from training.corpus.rows import AnchoredPair, InstructionType, Row
from training.pairs import PairBatch, RightDocuments, contrast, is_new_mined, is_wrong_variant, make_batch


def _row(number: int, **changes: object) -> Row:
    """A row of three pairs, all of whose texts carry its number."""
    texts = {
        "query_positive": f"query {number}",
        "instruction_positive": f"wish {number}",
        "document_positive": f"document {number}",
        "instruction_negative": f"other wish {number}",
        "hard_negative_document_1": f"first hard document {number}",
        "query_negative": f"other query {number}",
        "hard_negative_document_2": f"second hard document {number}",
    }
    return make_row(**{**texts, **changes})


def _plain_row(query: str, document: str) -> Row:
    return Row(
        query_positive=query,
        document_positive=document,
        source="test",
        license="CC0-1.0",
        instruction_type=InstructionType.PLAIN,
    )


def _wrong_documents(pairs: Sequence[AnchoredPair]) -> list[list[str]]:
    """For each pair as anchor: the documents it is contrasted with, as often as they are."""
    wrong = contrast(pairs, pairs).is_wrong_document_BN.tolist()
    return [[pair.document for pair, is_wrong in zip(pairs, row, strict=True) if is_wrong] for row in wrong]


def _wrong_queries(pairs: Sequence[AnchoredPair]) -> list[list[tuple[str, str | None]]]:
    wrong = contrast(pairs, pairs).is_wrong_query_BN.tolist()
    return [[pair[:2] for pair, is_wrong in zip(pairs, row, strict=True) if is_wrong] for row in wrong]


def test_the_three_pairs_of_a_row_contrast_with_each_other() -> None:
    pairs = _row(1).pairs()
    others = ~torch.eye(3, dtype=torch.bool)
    assert torch.equal(contrast(pairs, pairs).is_wrong_document_BN, others)
    assert torch.equal(contrast(pairs, pairs).is_wrong_query_BN, others)


def test_a_document_that_stands_in_two_pairs_is_one_negative() -> None:
    anchor = AnchoredPair("a", "wish", "own")
    pairs = [anchor, AnchoredPair("b", "x", "twice"), AnchoredPair("c", "y", "twice")]
    assert _wrong_documents(pairs)[0] == ["twice"]
    assert _wrong_queries(pairs)[0] == [("b", "x"), ("c", "y")]


def test_a_query_that_stands_in_two_pairs_is_one_negative() -> None:
    pairs = [AnchoredPair("a", "wish", "own"), AnchoredPair("b", "x", "one"), AnchoredPair("b", "x", "two")]
    assert _wrong_queries(pairs)[0] == [("b", "x")]
    assert _wrong_documents(pairs)[0] == ["one", "two"]


def test_a_document_under_two_wishes_is_a_negative_of_neither() -> None:
    pairs = [AnchoredPair("a", "x", "shared"), AnchoredPair("b", "y", "shared"), AnchoredPair("c", "z", "other")]
    assert _wrong_documents(pairs) == [["other"], ["other"], ["shared"]]
    assert _wrong_queries(pairs) == [[("c", "z")], [("c", "z")], [("a", "x"), ("b", "y")]]


def test_a_wish_of_two_rows_takes_the_documents_of_both() -> None:
    pairs = [AnchoredPair("a", "x", "one"), AnchoredPair("a", "x", "two"), AnchoredPair("c", "z", "other")]
    assert _wrong_documents(pairs) == [["other"], ["other"], ["one", "two"]]
    assert _wrong_queries(pairs) == [[("c", "z")], [("c", "z")], [("a", "x")]]


def test_what_is_right_for_one_copy_is_right_for_all() -> None:
    """The copy that counts is the first, and it may belong to a pair that says nothing of this anchor."""
    pairs = [AnchoredPair("b", "y", "two"), AnchoredPair("a", "x", "one"), AnchoredPair("a", "x", "two")]
    assert _wrong_documents(pairs)[1] == []


def test_a_plain_query_takes_every_document_on_its_subject_and_no_other() -> None:
    pairs = [
        AnchoredPair("a", None, "plain"),
        AnchoredPair("a", "x", "wished"),
        AnchoredPair("a", "y", "wished otherwise"),
        AnchoredPair("b", None, "elsewhere"),
    ]
    assert _wrong_documents(pairs) == [
        ["elsewhere"],
        ["wished otherwise", "elsewhere"],
        ["wished", "elsewhere"],
        ["plain", "wished", "wished otherwise"],
    ]
    assert _wrong_queries(pairs) == [
        [("b", None)],
        [("a", "y"), ("b", None)],
        [("a", "x"), ("b", None)],
        [("a", None), ("a", "x"), ("a", "y")],
    ]


def test_anchors_may_be_some_of_the_pairs_as_on_one_of_several_ranks() -> None:
    pairs = [pair for number in range(3) for pair in _row(number).pairs()]
    whole, part = contrast(pairs, pairs), contrast(pairs[3:5], pairs)
    assert torch.equal(part.is_wrong_document_BN, whole.is_wrong_document_BN[3:5])
    assert torch.equal(part.is_wrong_query_BN, whole.is_wrong_query_BN[3:5])


PAIRS = st.lists(
    st.builds(AnchoredPair, st.sampled_from("ab"), st.sampled_from([None, "x", "y"]), st.sampled_from("klm")),
    min_size=1,
    max_size=7,
)


def _is_right(anchor: AnchoredPair, pair: AnchoredPair) -> bool:
    """Whether a pair tells that its document, and its query, are right for the anchor."""
    is_plain = anchor.instruction is None or pair.instruction is None
    same_wish = anchor.query == pair.query and (is_plain or anchor.instruction == pair.instruction)
    return same_wish or anchor.document == pair.document


@settings(max_examples=150, deadline=None)
@given(pairs=PAIRS)
def test_negatives_are_the_distinct_texts_that_no_pair_calls_right(pairs: list[AnchoredPair]) -> None:
    documents, queries = _wrong_documents(pairs), _wrong_queries(pairs)
    for anchor, found_documents, found_queries in zip(pairs, documents, queries, strict=True):
        right = [pair for pair in pairs if _is_right(anchor, pair)]
        wrong_documents = {p.document for p in pairs} - {p.document for p in right}
        wrong_queries = {p[:2] for p in pairs} - {p[:2] for p in right}
        assert sorted(found_documents) == sorted(wrong_documents)
        assert sorted(found_queries, key=str) == sorted(wrong_queries, key=str)


def _drawn(batch: PairBatch) -> list[list[str | None]]:
    return [[batch.pairs[other].instruction for other in others] for others in batch.variants]


ROWS = [_row(number) for number in range(6)]


def test_every_text_is_encoded_once() -> None:
    batch = make_batch([_row(1), _row(1, document_positive="another document")], share=0.5, seed=0)
    assert len(batch.pairs) == 6
    assert batch.documents == (
        "document 1", "first hard document 1", "second hard document 1", "another document"
    )  # fmt: skip
    assert [batch.documents[n] for n in batch.document_of_pair] == [pair.document for pair in batch.pairs]
    assert [batch.queries[n] for n in batch.query_of_pair] == [pair[:2] for pair in batch.pairs]
    assert len(set(batch.queries)) == len(batch.queries)


def test_a_variant_is_the_anchors_query_under_the_drawn_instruction() -> None:
    batch = make_batch(ROWS, share=0.4, seed=3)
    table = batch.variant_queries().tolist()
    for pair, drawn, places in zip(batch.pairs, _drawn(batch), table, strict=True):
        assert [batch.queries[place] for place in places] == [(pair.query, text) for text in drawn]


def test_fewer_variants_are_filled_up_with_none() -> None:
    batch = make_batch([_row(1), _plain_row("plain", "text")], share=1.0, seed=0)
    assert batch.variant_queries()[-1].tolist() == [-1]
    assert is_wrong_variant(batch, batch.pairs).tolist() == [[True], [True], [True], [False]]


def test_an_instruction_never_contrasts_with_its_own_text() -> None:
    """The published code draws an anchor's own text as a negative in 45 % of the cases."""
    rows = [_row(number, instruction_positive="the same wish") for number in range(8)]
    for seed in range(5):
        batch = make_batch(rows, share=1.0, seed=seed)
        for pair, drawn in zip(batch.pairs, _drawn(batch), strict=True):
            assert pair.instruction not in drawn
            assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_the_other_instruction_of_the_row_is_always_drawn(share: float) -> None:
    """Also where another row brought the same text first."""
    rows = [*ROWS, _row(7, instruction_negative="other wish 2"), _row(8, instruction_positive="wish 3")]
    batch = make_batch(rows, share=share, seed=1)
    opposite: dict[AnchoredPair, str | None] = {}
    for row in rows:
        positive, poisoned, other_need = row.pairs()
        opposite[positive] = opposite[other_need] = poisoned.instruction
        opposite[poisoned] = positive.instruction
    for pair, drawn in zip(batch.pairs, _drawn(batch), strict=True):
        assert drawn[0] == opposite[pair]


@pytest.mark.parametrize(("share", "n_expected"), [(0.01, 1), (0.25, 4), (0.5, 9), (1.0, 11)])
def test_the_share_is_of_the_batch_and_bounded_by_its_other_instructions(share: float, n_expected: int) -> None:
    batch = make_batch(ROWS, share=share, seed=2)  # 18 pairs with 12 instructions
    assert {len(others) for others in batch.variants} == {n_expected}


def test_a_share_of_nothing_draws_nothing() -> None:
    batch = make_batch(ROWS, share=0, seed=2)
    assert batch.variants == ((),) * 18
    assert batch.variant_queries().shape == is_wrong_variant(batch, batch.pairs).shape == (18, 0)
    assert len(batch.queries) == 18


def test_the_draw_is_of_the_seed() -> None:
    one, same, other = (make_batch(ROWS, share=0.3, seed=seed) for seed in (5, 5, 6))
    assert one == same
    assert one.variants != other.variants
    assert one.pairs == other.pairs


def test_plain_rows_take_no_part_in_contrasting_instructions() -> None:
    batch = make_batch([_plain_row("plain", "text"), *ROWS], share=1.0, seed=0)
    assert batch.variants[0] == ()
    assert all(None not in drawn for drawn in _drawn(batch))


def test_a_batch_of_plain_rows_has_no_variants() -> None:
    batch = make_batch([_plain_row("a", "k"), _plain_row("b", "l")], share=1.0, seed=0)
    assert batch.queries == (("a", None), ("b", None))
    assert is_wrong_variant(batch, batch.pairs).shape == (2, 0)


def test_a_batch_can_leave_its_instructions_out_as_the_ablation_without_them_does() -> None:
    batch = make_batch([_row(1)], share=1.0, seed=0, with_instructions=False)
    assert batch.queries == (("query 1", None), ("other query 1", None))
    assert batch.variants == ((), (), ())
    # Without the wishes nothing says that the first hard document is wrong.
    assert _wrong_documents(batch.pairs)[0] == ["second hard document 1"]


def test_a_variant_that_is_another_right_pair_is_masked() -> None:
    """The document of the first pair is right for the same query under the second row's instruction as well."""
    first = _row(1)
    also_right = _row(2, query_positive="query 1", document_positive="document 1")
    batch = make_batch([first, also_right], share=1.0, seed=0)
    is_wrong = is_wrong_variant(batch, batch.pairs).tolist()
    by_text = [dict(zip(drawn, wrong, strict=True)) for drawn, wrong in zip(_drawn(batch), is_wrong, strict=True)]
    assert by_text[0] == {"other wish 1": True, "wish 2": False, "other wish 2": True}
    assert by_text[3] == {"other wish 2": True, "wish 1": False, "other wish 1": True}
    assert all(by_text[1].values())


def test_a_right_pair_of_another_rank_masks_a_variant() -> None:
    batch = make_batch([_row(1)], share=1.0, seed=0)
    elsewhere = AnchoredPair("query 1", "other wish 1", "document 1")
    assert is_wrong_variant(batch, batch.pairs)[0].tolist() == [True]
    assert is_wrong_variant(batch, [*batch.pairs, elsewhere])[0].tolist() == [False]


_PAIRS = st.lists(
    st.builds(AnchoredPair, st.sampled_from("qr"), st.sampled_from(["i", "j", None]), st.sampled_from("abcd")),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(_PAIRS)
def test_right_documents_are_those_that_contrast_takes_for_no_negatives(pairs: list[AnchoredPair]) -> None:
    right = RightDocuments(pairs)
    every = {pair.document for pair in pairs}
    for anchor, wrong in zip(pairs, _wrong_documents(pairs), strict=True):
        assert every - right.of(anchor) == set(wrong)


def _batch_with_mined() -> PairBatch:
    mined = {"document 1": ("far", "document 2"), "first hard document 2": ("far", "further", "furthest")}
    return make_batch([_row(1), _row(2)], share=0, seed=0, mined=lambda pair, _: mined.get(pair.document, ()))


def test_mined_documents_stand_behind_those_of_the_pairs_each_once() -> None:
    batch = _batch_with_mined()
    assert batch.documents == (*(pair.document for pair in batch.pairs), "far", "further", "furthest")
    places = batch.mined_documents().tolist()
    assert [[batch.documents[place] for place in row if place >= 0] for row in places] == list(map(list, batch.mined))
    assert places[1] == [-1, -1, -1]


def test_mined_document_that_the_step_has_anyway_is_not_counted_twice() -> None:
    batch = _batch_with_mined()
    none = [False, False, False]
    assert is_new_mined(batch, batch.pairs).tolist() == [[True, False, False], none, none, none, [True] * 3, none]


def test_what_stands_beside_a_pair_in_its_row_is_told_to_who_mines() -> None:
    beside: dict[str, set[str]] = {}
    make_batch([_row(1), _row(2)], share=0, seed=0, mined=lambda p, row: beside.update({p.document: set(row)}) or ())
    row = {"document 2", "first hard document 2", "second hard document 2"}
    assert beside["first hard document 2"] == row
    assert beside["document 2"] == row
