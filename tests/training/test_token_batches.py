"""From token ids to tensors, and who sees whom."""

import torch

from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from training.tokens import Part, collate, instruction_only, text_only

WISHED = TokenizedInput(InputType.QUERY, ids=(11, 12, 13), instruction_ids=(21, 22))
PLAIN = TokenizedInput(InputType.QUERY, ids=(14,))


def test_a_row_is_instruction_then_text_then_padding() -> None:
    batch = collate([WISHED, PLAIN], pad_id=9)
    i, t, p = Part.INSTRUCTION, Part.TEXT, Part.PADDING
    assert batch.ids_BT.tolist() == [[21, 22, 11, 12, 13], [14, 9, 9, 9, 9]]
    assert batch.parts_BT.tolist() == [[i, i, t, t, t], [t, p, p, p, p]]
    assert batch.is_token_BT.tolist() == [[True] * 5, [True] + [False] * 4]
    assert batch.is_text_BT.tolist() == [[False, False, True, True, True], [True] + [False] * 4]


def test_a_padding_id_within_the_text_is_still_a_token() -> None:
    batch = collate([TokenizedInput(InputType.QUERY, ids=(0, 5, 0))], pad_id=0)
    assert batch.is_token_BT.all()


def test_the_instruction_sees_itself_the_text_sees_both_and_nobody_sees_padding() -> None:
    short = TokenizedInput(InputType.QUERY, ids=(11, 12), instruction_ids=(21,))
    (seen, _) = collate([short, WISHED], pad_id=0).sees_BTT.int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],  # padding looks at the tokens, so that its row of the softmax is not empty
        [1, 1, 1, 0, 0],
    ]


def test_a_row_without_instruction_sees_all_of_its_text() -> None:
    (seen,) = collate([TokenizedInput(InputType.QUERY, ids=(1, 2, 3))], pad_id=0).sees_BTT.tolist()
    assert seen == [[True] * 3] * 3


def test_a_batch_knows_whether_it_has_an_instruction() -> None:
    assert collate([PLAIN, WISHED], pad_id=0).has_instruction
    assert not collate([PLAIN, PLAIN], pad_id=0).has_instruction


def test_the_two_parts_can_be_taken_apart() -> None:
    assert [item.ids for item in instruction_only([WISHED, PLAIN])] == [(21, 22), ()]
    assert [(item.ids, item.instruction_ids) for item in text_only([WISHED])] == [((11, 12, 13), ())]


def test_a_moved_batch_is_the_same_batch() -> None:
    batch = collate([WISHED, PLAIN], pad_id=0)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.ids_BT, batch.ids_BT)
    assert torch.equal(moved.parts_BT, batch.parts_BT)
