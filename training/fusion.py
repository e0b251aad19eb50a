"""How instruction and query become one vector (docs/decisions/0003).

Legend: B rows, N items, I and T tokens, D dim.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from infembed.bundle import Pooling
from infembed.inputs import Fusion
from infembed.tokenization import TokenizedInput
from training.backbone import Backbone
from training.pooling import pool
from training.tokens import Pack, TokenBatch, collate, instruction_only, text_only


def fuse(
    backbone: Backbone, packs: Sequence[Pack], *, fusion: Fusion, pooling: Pooling, pools_instruction: bool
) -> Tensor:
    """Encode the items of packs in order to (N, D), not normalised; packs with and without instruction may be mixed.

    `pools_instruction`: under `prefix`, pool over instruction and query tokens rather than the query's alone.
    """
    if fusion is Fusion.ATTENTION:
        return _attention(backbone, [item for pack in packs for item in pack], pooling)
    batch = collate(packs, pad_id=backbone.pad_id).to(backbone.device)
    is_pooled = batch.is_text_NT
    if pools_instruction:
        is_pooled = is_pooled | batch.is_instruction_BT[batch.row_of_item_N]
    return pool(backbone(batch)[batch.row_of_item_N], is_pooled, pooling=pooling)


def attend(instruction_BID: Tensor, query_BTD: Tensor, *, is_instruction_BI: Tensor, is_query_BT: Tensor) -> Tensor:
    """Mix query states by instruction attention, mean over instruction tokens: the paper's Eq. 4; (B, D)."""
    scores = instruction_BID @ query_BTD.transpose(1, 2) / math.sqrt(query_BTD.shape[2])
    weights = scores.masked_fill(~is_query_BT[:, None, :], torch.finfo(scores.dtype).min).softmax(dim=2)
    return pool(weights @ query_BTD, is_instruction_BI, pooling=Pooling.MEAN)


def _attention(backbone: Backbone, items: Sequence[TokenizedInput], pooling: Pooling) -> Tensor:
    """Encode query and instruction apart; an item without instruction is the plain query."""
    query = _apart(backbone, text_only(items))
    states = backbone(query)
    plain = pool(states, query.is_token_BT, pooling=pooling)
    rows = [row for row, item in enumerate(items) if item.instruction_ids]
    if not rows:
        return plain
    instruction = _apart(backbone, instruction_only([items[row] for row in rows]))
    place = torch.tensor(rows, device=plain.device)
    mixed = attend(
        backbone(instruction),
        states[place],
        is_instruction_BI=instruction.is_token_BT,
        is_query_BT=query.is_token_BT[place],
    )
    return plain.index_copy(0, place, mixed.to(plain.dtype))


def _apart(backbone: Backbone, items: Sequence[TokenizedInput]) -> TokenBatch:
    return collate([[item] for item in items], pad_id=backbone.pad_id).to(backbone.device)
