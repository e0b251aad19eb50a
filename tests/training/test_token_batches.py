"""From token ids to tensors, and who sees whom."""

import torch

from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from training.tokens import INSTRUCTION, PADDING, collate, instruction_only, make_packs, pack_tokens, text_only

WISHED = TokenizedInput(InputType.QUERY, ids=(11, 12, 13), instruction_ids=(21, 22))
ALSO_WISHED = TokenizedInput(InputType.QUERY, ids=(15, 16), instruction_ids=(21, 22))
PLAIN = TokenizedInput(InputType.QUERY, ids=(14,))


def test_a_row_is_instruction_then_texts_then_padding() -> None:
    batch = collate([[WISHED, ALSO_WISHED], [PLAIN]], pad_id=9)
    i, p = INSTRUCTION, PADDING
    assert batch.ids_BT.tolist() == [[21, 22, 11, 12, 13, 15, 16], [14, 9, 9, 9, 9, 9, 9]]
    assert batch.parts_BT.tolist() == [[i, i, 1, 1, 1, 2, 2], [1, p, p, p, p, p, p]]
    assert batch.is_token_BT.tolist() == [[True] * 7, [True] + [False] * 6]


def test_every_text_goes_on_where_the_instruction_ended() -> None:
    batch = collate([[WISHED, ALSO_WISHED], [PLAIN]], pad_id=9)
    assert batch.positions_BT.tolist() == [[0, 1, 2, 3, 4, 2, 3], [0] * 7]


def test_items_are_found_again_in_order() -> None:
    batch = collate([[WISHED, ALSO_WISHED], [PLAIN]], pad_id=9)
    assert batch.row_of_item_N.tolist() == [0, 0, 1]
    texts = [
        batch.ids_BT[row][is_text].tolist() for row, is_text in zip(batch.row_of_item_N, batch.is_text_NT, strict=True)
    ]
    assert texts == [[11, 12, 13], [15, 16], [14]]


def test_a_padding_id_within_the_text_is_still_a_token() -> None:
    batch = collate([[TokenizedInput(InputType.QUERY, ids=(0, 5, 0))]], pad_id=0)
    assert batch.is_token_BT.all()


def test_the_instruction_sees_itself_a_text_sees_it_and_the_instruction_and_nobody_sees_padding() -> None:
    first = TokenizedInput(InputType.QUERY, ids=(11, 12), instruction_ids=(21,))
    second = TokenizedInput(InputType.QUERY, ids=(13,), instruction_ids=(21,))
    (seen, _) = collate([[first, second], [WISHED]], pad_id=0).sees_BTT.int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 1, 1, 1, 0],  # padding looks at the tokens, so that its row of the softmax is not empty
    ]


def test_a_row_without_instruction_sees_all_of_its_text() -> None:
    (seen,) = collate([[TokenizedInput(InputType.QUERY, ids=(1, 2, 3))]], pad_id=0).sees_BTT.tolist()
    assert seen == [[True] * 3] * 3


def test_a_batch_knows_whether_it_has_an_instruction() -> None:
    assert collate([[PLAIN], [WISHED]], pad_id=0).has_instruction
    assert not collate([[PLAIN], [PLAIN]], pad_id=0).has_instruction


def test_the_two_parts_can_be_taken_apart() -> None:
    assert [item.ids for item in instruction_only([WISHED, PLAIN])] == [(21, 22), ()]
    assert [(item.ids, item.instruction_ids) for item in text_only([WISHED])] == [((11, 12, 13), ())]


def test_a_moved_batch_is_the_same_batch() -> None:
    batch = collate([[WISHED], [PLAIN]], pad_id=0)
    moved = batch.to(torch.device("cpu"))
    for name in batch.__dataclass_fields__:
        assert torch.equal(getattr(moved, name), getattr(batch, name))


def test_queries_under_one_instruction_share_its_tokens_and_plain_ones_stay_alone() -> None:
    items = [WISHED, PLAIN, ALSO_WISHED, PLAIN]
    assert make_packs(items) == [[0, 2], [1], [3]]
    assert pack_tokens([WISHED, ALSO_WISHED]) == 7


def test_a_pack_does_not_grow_without_bound() -> None:
    packs = make_packs([WISHED] * 1000)
    assert sorted(number for pack in packs for number in pack) == list(range(1000))
    assert max(map(len, packs)) <= 16
