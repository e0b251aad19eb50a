"""The losses against numbers worked out by hand, and against the paper's formulas read out with loops."""

import math
from collections.abc import Sequence
from itertools import chain, combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.losses import (
    Join,
    Negatives,
    Term,
    contrastive_loss,
    cut,
    distillation_loss,
    document_negatives,
    instruction_negatives,
    mined_negatives,
    query_negatives,
    together,
)

COMBINATIONS = list(chain.from_iterable(combinations(Term, size) for size in range(1, len(Term) + 1)))

# Two anchors. Own scores: x0.p0 = 1, x1.p1 = 0.8. Across: x0.p1 = 0, x1.p0 = 0.6.
QUERIES = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
DOCUMENTS = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
POSITIVE = torch.tensor([1.0, 0.8], dtype=torch.float64)
# One variant each: the first anchor's query turned to score 0.28 with p0, the second's to score -1 with p1.
VARIANTS = torch.tensor([[[0.28, 0.96]], [[0.0, -1.0]]], dtype=torch.float64)
OTHERS = torch.tensor([[False, True], [True, False]])
EVERY = torch.ones(2, 1, dtype=torch.bool)

P = document_negatives(QUERIES, DOCUMENTS, OTHERS)
IQ = query_negatives(QUERIES, DOCUMENTS, OTHERS)
I = instruction_negatives(VARIANTS, DOCUMENTS, EVERY)  # noqa: E741 - the paper's name


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        # by hand: log(1 + e^(0 - 1)), log(1 + e^(0.6 - 0.8))
        ([P], [0.313262, 0.598139]),
        # by hand: log(1 + e^(0.6 - 1)), log(1 + e^(0 - 0.8))
        ([IQ], [0.513015, 0.371101]),
        # by hand: log(1 + e^(0.28 - 1)), log(1 + e^(-1 - 0.8))
        ([I], [0.396594, 0.152978]),
    ],
)
@pytest.mark.parametrize("join", Join)
def test_each_term_gives_the_numbers_worked_out_by_hand(
    terms: list[Negatives], expected: list[float], join: Join
) -> None:
    found = contrastive_loss(POSITIVE, terms, join=join, temperature=1.0)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_multi_sums_the_terms_and_uni_shares_one_denominator_with_the_positive_once() -> None:
    multi = contrastive_loss(POSITIVE, [P, IQ], join=Join.MULTI, temperature=1.0)
    uni = contrastive_loss(POSITIVE, [P, IQ], join=Join.UNI, temperature=1.0)
    assert multi.tolist() == pytest.approx([0.313262 + 0.513015, 0.598139 + 0.371101], abs=1e-6)
    # by hand: log(1 + e^-1 + e^-0.4), log(1 + e^-0.2 + e^-0.8)
    assert uni.tolist() == pytest.approx([0.712067, 0.818925], abs=1e-6)


def test_temperature_divides_every_score() -> None:
    found = contrastive_loss(POSITIVE, [P], join=Join.MULTI, temperature=0.5)
    # by hand: log(1 + e^((0 - 1) / 0.5)), log(1 + e^((0.6 - 0.8) / 0.5))
    assert found.tolist() == pytest.approx([0.126928, 0.513015], abs=1e-6)


class Case:
    """Random unit vectors and masks of `n` anchors among `n_all` pairs, `k` variants each."""

    def __init__(self, n: int, n_all: int, k: int, *, density: float, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)

        def unit(*shape: int) -> Tensor:
            vectors = torch.randn(*shape, 4, generator=random, dtype=torch.float64)
            return torch.nn.functional.normalize(vectors, dim=-1)

        self.queries, self.documents, self.variants = unit(n_all), unit(n_all), unit(n, k)
        self.masks = {term: torch.rand(n, k if term is Term.I else n_all, generator=random) < density for term in Term}
        self.n = n

    def loss(self, terms: Sequence[Term], join: Join, temperature: float) -> Tensor:
        n = self.n
        negatives = {
            Term.P: document_negatives(self.queries[:n], self.documents, self.masks[Term.P]),
            Term.IQ: query_negatives(self.queries, self.documents[:n], self.masks[Term.IQ]),
            Term.I: instruction_negatives(self.variants, self.documents[:n], self.masks[Term.I]),
        }
        positive = (self.queries[:n] * self.documents[:n]).sum(1)
        return contrastive_loss(positive, [negatives[term] for term in terms], join=join, temperature=temperature)

    def literal(self, terms: Sequence[Term], join: Join, temperature: float) -> list[float]:
        """Section 3 of the paper, one exponential after another."""
        losses = []
        for i in range(self.n):
            above = self._exp(self.queries[i], self.documents[i], temperature)
            below = {
                Term.P: [self._exp(self.queries[i], p, temperature) for p in self._kept(Term.P, i, self.documents)],
                Term.IQ: [self._exp(x, self.documents[i], temperature) for x in self._kept(Term.IQ, i, self.queries)],
                Term.I: [self._exp(x, self.documents[i], temperature) for x in self._kept(Term.I, i, self.variants[i])],
            }
            groups = [below[term] for term in terms]
            if join is Join.UNI:
                groups = [list(chain.from_iterable(groups))]
            losses.append(sum(-math.log(above / (above + sum(group))) for group in groups))
        return losses

    def _kept(self, term: Term, i: int, vectors: Tensor) -> list[Tensor]:
        return [vector for j, vector in enumerate(vectors) if self.masks[term][i, j]]

    @staticmethod
    def _exp(one: Tensor, other: Tensor, temperature: float) -> float:
        dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
        return math.exp(dot / temperature)


@pytest.mark.parametrize("terms", COMBINATIONS, ids="-".join)
@pytest.mark.parametrize("join", Join)
@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(1, 4),
    n_more=st.integers(0, 3),
    k=st.integers(0, 3),
    density=st.sampled_from([0.0, 0.5, 1.0]),
    temperature=st.sampled_from([0.02, 0.05, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_every_combination_equals_the_formula_read_out(
    terms: Sequence[Term], join: Join, n: int, n_more: int, k: int, density: float, temperature: float, seed: int
) -> None:
    case = Case(n, n + n_more, k, density=density, seed=seed)
    found = case.loss(terms, join, temperature).tolist()
    assert found == pytest.approx(case.literal(terms, join, temperature), abs=1e-6)


@pytest.mark.parametrize("join", Join)
@pytest.mark.parametrize("terms", COMBINATIONS, ids="-".join)
def test_an_anchor_without_negatives_costs_nothing_and_its_gradient_is_zero(terms: Sequence[Term], join: Join) -> None:
    case = Case(3, 4, 2, density=0.0, seed=1)
    leaves = (case.queries, case.documents, case.variants)
    for leaf in leaves:
        leaf.requires_grad_()
    loss = case.loss(terms, join, temperature=0.01)
    torch.autograd.backward(loss.sum())
    assert loss.tolist() == [0.0, 0.0, 0.0]
    assert all(leaf.grad is None or torch.equal(leaf.grad, torch.zeros_like(leaf)) for leaf in leaves)


def test_a_masked_score_of_any_size_changes_nothing() -> None:
    is_negative = torch.tensor([[True, False]])
    quiet = Negatives(torch.tensor([[0.2, 0.0]]), is_negative)
    loud = Negatives(torch.tensor([[0.2, 1e6]]), is_negative)
    positive = torch.tensor([0.5])
    one, other = (contrastive_loss(positive, [n], join=Join.UNI, temperature=0.05) for n in (quiet, loud))
    assert torch.equal(one, other)


@pytest.mark.parametrize("terms", COMBINATIONS, ids="-".join)
def test_half_precision_of_the_encoder_does_not_reach_the_scores(terms: Sequence[Term]) -> None:
    case = Case(3, 4, 2, density=1.0, seed=1)
    case.queries, case.documents, case.variants = (t.float() for t in (case.queries, case.documents, case.variants))
    expected = case.loss(terms, Join.MULTI, temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = case.loss(terms, Join.MULTI, temperature=0.05)
    assert torch.equal(found, expected)


def test_gradients_pull_the_document_close_and_push_negatives_away() -> None:
    positive = torch.zeros(1, requires_grad=True)
    negatives = torch.zeros(1, 2, requires_grad=True)
    terms = [Negatives(negatives, torch.tensor([[True, False]]))]
    torch.autograd.backward(contrastive_loss(positive, terms, join=Join.MULTI, temperature=0.5).sum())
    assert positive.grad is not None
    assert negatives.grad is not None
    # Softmax over two equal scores is 1/2, and 1 / temperature is 2.
    assert positive.grad.tolist() == [-1.0]
    assert negatives.grad.tolist() == [[1.0, 0.0]]


def test_mined_documents_widen_the_denominator_of_their_own_anchor() -> None:
    mined = mined_negatives(QUERIES, torch.tensor([[[0.6, 0.8]], [[0.8, 0.6]]]).double(), EVERY)
    assert mined.scores_BK.flatten().tolist() == pytest.approx([0.6, 0.96])
    found = contrastive_loss(POSITIVE, [together([P, mined])], join=Join.MULTI, temperature=1.0)
    # by hand: log(1 + e^(0 - 1) + e^(0.6 - 1)), log(1 + e^(0.6 - 0.8) + e^(0.96 - 0.8))
    assert found.tolist() == pytest.approx([0.712067, 1.096023], abs=1e-6)


def test_cut_vectors_are_normalised_again() -> None:
    assert cut(torch.tensor([[3.0, 4.0, 12.0]]) / 13, 2).tolist() == [pytest.approx([0.6, 0.8])]


def test_distillation_is_the_kl_divergence_from_the_teacher() -> None:
    student = torch.tensor([[0.0, math.log(3.0), 50.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.2, 0.2, -50.0]])  # in another precision
    counts = torch.tensor([[True, True, False]])
    # by hand: 0.5 log(0.5 / 0.25) + 0.5 log(0.5 / 0.75)
    assert distillation_loss(student, teacher, counts, temperature=1.0).tolist() == pytest.approx([0.143841], abs=1e-6)
    # by hand: half the temperature makes 1 and 9 of 1 and 3: 0.5 log(0.5 / 0.1) + 0.5 log(0.5 / 0.9)
    assert distillation_loss(student, teacher, counts, temperature=0.5).tolist() == pytest.approx([0.510826], abs=1e-6)


def test_student_that_scores_as_its_teacher_has_nothing_to_learn() -> None:
    scores = torch.tensor([[0.3, 0.1, 0.9]], requires_grad=True)
    counts = torch.tensor([[True, True, False]])
    loss = distillation_loss(scores, scores.detach() + 0.2, counts, temperature=0.05)
    torch.autograd.backward(loss.sum())
    assert scores.grad is not None
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(scores.grad, torch.zeros(1, 3), atol=1e-5, rtol=0)
