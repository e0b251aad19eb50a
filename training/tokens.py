"""Token ids to tensors: an instruction and the queries that share it in one sequence, each token with its part.

The instruction does not see the queries, and they do not see each other, so queries under one instruction need its
tokens once: a pack is one row. Legend: B rows, T tokens, N items in the order of the packs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infembed.tokenization import TokenizedInput

INSTRUCTION, PADDING = 0, -1
"""Parts of a row; its texts are 1, 2, ..."""
_MOST_IN_A_PACK = 8

Pack = Sequence[TokenizedInput]
"""Inputs with one instruction, or a single input without."""


@dataclass(frozen=True)
class TokenBatch:
    """Token ids, their parts and positions, (B, T) each, and where each item is; padding is on the right.

    Each text's positions go on from the instruction's, as if it stood there alone.
    """

    ids_BT: Tensor
    parts_BT: Tensor
    positions_BT: Tensor
    row_of_item_N: Tensor
    part_of_item_N: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        return TokenBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    @property
    def is_token_BT(self) -> Tensor:
        return self.parts_BT != PADDING

    @property
    def is_instruction_BT(self) -> Tensor:
        return self.parts_BT == INSTRUCTION

    @property
    def is_text_NT(self) -> Tensor:
        """The tokens of each item's own text in its row."""
        return self.parts_BT[self.row_of_item_N] == self.part_of_item_N[:, None]

    @property
    def has_instruction(self) -> bool:
        return bool(self.is_instruction_BT.any())

    @property
    def sees_BTT(self) -> Tensor:
        """Whether a token attends to another: its own part and the instruction; nothing to padding.

        Padding attends to all tokens, so that no row of the attention is empty; nobody reads what it gets.
        """
        asks, asked = self.parts_BT[:, :, None], self.parts_BT[:, None, :]
        return ((asks == asked) | (asked == INSTRUCTION) | (asks == PADDING)) & (asked != PADDING)


def make_packs(items: Sequence[TokenizedInput]) -> list[list[int]]:
    """Group the numbers of items by their instruction; items without one stay alone."""
    packs: list[list[int]] = []
    open_packs: dict[tuple[int, ...], list[int]] = {}
    for number, item in enumerate(items):
        pack = open_packs.get(item.instruction_ids) if item.instruction_ids else None
        if pack is None or len(pack) == _MOST_IN_A_PACK:
            pack = []
            packs.append(pack)
            open_packs[item.instruction_ids] = pack
        pack.append(number)
    return packs


def pack_tokens(pack: Pack) -> int:
    """Tokens of a pack's row."""
    return len(pack[0].instruction_ids) + sum(len(item.ids) for item in pack)


def collate(packs: Sequence[Pack], *, pad_id: int) -> TokenBatch:
    """Pad packs to one length; each row is instruction, texts, padding."""
    width = max(map(pack_tokens, packs))
    ids = torch.full((len(packs), width), pad_id, dtype=torch.long)
    parts = torch.full((len(packs), width), PADDING, dtype=torch.long)
    positions = torch.arange(width).repeat(len(packs), 1)
    place: list[tuple[int, int]] = []
    for row, pack in enumerate(packs):
        instruction = pack[0].instruction_ids
        end = len(instruction)
        ids[row, :end] = torch.tensor(instruction, dtype=torch.long)
        parts[row, :end] = INSTRUCTION
        for part, item in enumerate(pack, start=1):
            start, end = end, end + len(item.ids)
            ids[row, start:end] = torch.tensor(item.ids, dtype=torch.long)
            parts[row, start:end] = part
            positions[row, start:end] -= start - len(instruction)
            place.append((row, part))
        positions[row, end:] = 0
    rows, numbers = torch.tensor(place, dtype=torch.long).reshape(-1, 2).unbind(1)
    return TokenBatch(ids, parts, positions, rows, numbers)


def instruction_only(items: Sequence[TokenizedInput]) -> list[TokenizedInput]:
    """Take the instructions as texts of their own, for fusions that encode them apart."""
    return [TokenizedInput(item.input_type, item.instruction_ids) for item in items]


def text_only(items: Sequence[TokenizedInput]) -> list[TokenizedInput]:
    """Drop the instructions."""
    return [TokenizedInput(item.input_type, item.ids) for item in items]
