"""Pooling over marked tokens."""

import torch

from infembed.bundle import Pooling
from training.pooling import pool

STATES = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [5.0, 100.0]], [[-1.0, 0.0], [7.0, 8.0], [9.0, 10.0]]])
MARKED = torch.tensor([[True, True, False], [False, True, True]])


def test_mean_takes_the_marked_tokens_only() -> None:
    assert pool(STATES, MARKED, pooling=Pooling.MEAN).tolist() == [[2.0, 4.0], [8.0, 9.0]]


def test_cls_is_the_first_marked_token() -> None:
    assert pool(STATES, MARKED, pooling=Pooling.CLS).tolist() == [[1.0, 2.0], [7.0, 8.0]]


def test_a_row_without_marked_tokens_has_a_zero_mean() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert pool(STATES, nothing, pooling=Pooling.MEAN).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_tokens_that_are_not_pooled_get_no_gradient() -> None:
    for pooling in Pooling:
        states = STATES.clone().requires_grad_()
        torch.autograd.backward(pool(states, MARKED, pooling=pooling).sum())
        assert states.grad is not None
        assert not states.grad[~MARKED].any()
        assert states.grad[MARKED].any()
