"""Token states to one vector."""

import torch
from torch import Tensor

from infembed.bundle import Pooling


def pool(states_BTD: Tensor, is_pooled_BT: Tensor, *, pooling: Pooling) -> Tensor:
    """Pool the marked tokens; (B, D). `cls` takes the first of them."""
    if pooling is Pooling.MEAN:
        weights = is_pooled_BT.to(states_BTD.dtype)
        return torch.einsum("btd,bt->bd", states_BTD, weights) / weights.sum(1, keepdim=True).clamp(min=1)
    first = is_pooled_BT.int().argmax(dim=1)
    return states_BTD[torch.arange(len(states_BTD), device=states_BTD.device), first]
