"""How instruction and query become one vector (docs/decisions/0003). Legend: B rows, I and T tokens, D dim."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from infembed.bundle import Pooling
from infembed.inputs import Fusion
from infembed.tokenization import TokenizedInput
from training.backbone import Backbone
from training.pooling import pool
from training.tokens import collate, instruction_only, text_only


def fuse(
    backbone: Backbone, items: Sequence[TokenizedInput], *, fusion: Fusion, pooling: Pooling, pools_instruction: bool
) -> Tensor:
    """Encode inputs to (B, D), not normalised; rows with and without instructions may be mixed.

    `pools_instruction`: under `prefix`, pool over instruction and query tokens rather than the query's alone.
    """
    if fusion is Fusion.ATTENTION:
        return _attention(backbone, items, pooling)
    batch = collate(items, pad_id=backbone.pad_id).to(backbone.device)
    is_pooled = batch.is_token_BT if pools_instruction else batch.is_text_BT
    return pool(backbone(batch), is_pooled, pooling=pooling)


def attend(instruction_BID: Tensor, query_BTD: Tensor, *, is_instruction_BI: Tensor, is_query_BT: Tensor) -> Tensor:
    """Mix query states by instruction attention, mean over instruction tokens: the paper's Eq. 4; (B, D)."""
    scores = instruction_BID @ query_BTD.transpose(1, 2) / math.sqrt(query_BTD.shape[2])
    weights = scores.masked_fill(~is_query_BT[:, None, :], torch.finfo(scores.dtype).min).softmax(dim=2)
    return pool(weights @ query_BTD, is_instruction_BI, pooling=Pooling.MEAN)


def _attention(backbone: Backbone, items: Sequence[TokenizedInput], pooling: Pooling) -> Tensor:
    """Encode query and instruction apart; a row without instruction is the plain query."""
    query = collate(text_only(items), pad_id=backbone.pad_id).to(backbone.device)
    states = backbone(query)
    plain = pool(states, query.is_text_BT, pooling=pooling)
    rows = [row for row, item in enumerate(items) if item.instruction_ids]
    if not rows:
        return plain
    instruction = collate(instruction_only([items[row] for row in rows]), pad_id=backbone.pad_id).to(backbone.device)
    place = torch.tensor(rows, device=plain.device)
    mixed = attend(
        backbone(instruction),
        states[place],
        is_instruction_BI=instruction.is_token_BT,
        is_query_BT=query.is_token_BT[place],
    )
    return plain.index_copy(0, place, mixed.to(plain.dtype))
