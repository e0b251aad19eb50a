"""Token ids to tensors: instruction and query in one sequence, with the part each token belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from infembed.tokenization import TokenizedInput


class Part(IntEnum):
    """What a token belongs to. The order matters: a token sees its own part and those before it."""

    INSTRUCTION = 0
    TEXT = 1
    PADDING = 2


@dataclass(frozen=True)
class TokenBatch:
    """Token ids and the part of each, (B, T) each; padding is on the right."""

    ids_BT: Tensor
    parts_BT: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        return TokenBatch(self.ids_BT.to(device), self.parts_BT.to(device))

    @property
    def is_token_BT(self) -> Tensor:
        return self.parts_BT != Part.PADDING

    @property
    def is_text_BT(self) -> Tensor:
        return self.parts_BT == Part.TEXT

    @property
    def has_instruction(self) -> bool:
        return bool((self.parts_BT == Part.INSTRUCTION).any())

    @property
    def sees_BTT(self) -> Tensor:
        """Whether a token attends to another: the instruction to itself, the text to both; nothing to padding.

        Padding attends to all tokens, so that no row of the attention is empty; nobody reads what it gets.
        """
        return (self.parts_BT[:, None, :] <= self.parts_BT[:, :, None]) & self.is_token_BT[:, None, :]


def collate(items: Sequence[TokenizedInput], *, pad_id: int) -> TokenBatch:
    """Pad inputs to one length; each row is instruction, text, padding."""
    width = max(item.n_tokens for item in items)
    ids = torch.full((len(items), width), pad_id, dtype=torch.long)
    parts = torch.full((len(items), width), Part.PADDING, dtype=torch.long)
    for row, item in enumerate(items):
        n = len(item.instruction_ids)
        ids[row, : item.n_tokens] = torch.tensor([*item.instruction_ids, *item.ids])
        parts[row, :n] = Part.INSTRUCTION
        parts[row, n : item.n_tokens] = Part.TEXT
    return TokenBatch(ids, parts)


def instruction_only(items: Sequence[TokenizedInput]) -> list[TokenizedInput]:
    """Take the instructions as texts of their own, for fusions that encode them apart."""
    return [TokenizedInput(item.input_type, item.instruction_ids) for item in items]


def text_only(items: Sequence[TokenizedInput]) -> list[TokenizedInput]:
    """Drop the instructions."""
    return [TokenizedInput(item.input_type, item.ids) for item in items]
