"""The contrastive losses of the paper (arXiv 2505.21439, section 4) as pure functions of scores and masks.

Every anchored pair i has a query embedding x_i = f(q_i, instruction_i) and its document's embedding p_i. All three
terms contrast the same positive score s(x_i, p_i) with other negatives:

    P    other documents             s(x_i, p_j)
    IQ   other queries               s(x_j, p_i)
    I    other instructions          s(f(q_i, instruction_j), p_i)

`multi` adds one cross-entropy per term; `uni` puts the negatives of all terms into one denominator, where the positive
stands once. What is no negative is masked: the reference code draws an anchor's own text as a negative in 45 % of the
cases. Not in the paper: documents mined for one anchor alone, losses of shorter vectors, and a teacher's scores.
Legend: B anchors, N documents, K negatives, D dim.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Term(StrEnum):
    """What an anchor's positive is contrasted with."""

    P = "P"
    IQ = "IQ"
    I = "I"  # noqa: E741 - the paper's name


class Join(StrEnum):
    """How several terms become one loss."""

    UNI = "uni"
    MULTI = "multi"


class Negatives(NamedTuple):
    """Scores of an anchor's negatives (B, K), and which of them count (B, K)."""

    scores_BK: Tensor
    is_negative_BK: Tensor


def contrastive_loss(positive_B: Tensor, terms: Sequence[Negatives], *, join: Join, temperature: float) -> Tensor:
    """Return each anchor's loss (B,); an anchor without negatives costs nothing."""
    if join is Join.UNI:
        terms = [together(terms)]
    return sum((_cross_entropy(positive_B, term, temperature) for term in terms), positive_B.new_zeros(()))


def together(terms: Sequence[Negatives]) -> Negatives:
    """Put negatives of several kinds side by side."""
    return Negatives(
        torch.cat([term.scores_BK for term in terms], dim=1), torch.cat([term.is_negative_BK for term in terms], dim=1)
    )


def distillation_loss(student_BN: Tensor, teacher_BN: Tensor, counts_BN: Tensor, *, temperature: float) -> Tensor:
    """Return KL(teacher, student) between each anchor's softmax over the documents that count; (B,)."""
    student, teacher = (
        # the smallest number instead of -inf: -inf less -inf is no number
        F.log_softmax((scores / temperature).masked_fill(~counts_BN, torch.finfo(scores.dtype).min), dim=1)
        for scores in (student_BN, teacher_BN)
    )
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)


def cut(vectors: Tensor, width: int) -> Tensor:
    """Cut unit vectors (..., D) to their first coordinates and normalise again (Matryoshka, arXiv 2205.13147)."""
    return F.normalize(vectors[..., :width], dim=-1)


def _cross_entropy(positive_B: Tensor, term: Negatives, temperature: float) -> Tensor:
    negatives = (term.scores_BK / temperature).masked_fill(~term.is_negative_BK, float("-inf"))
    logits = torch.cat([(positive_B / temperature)[:, None], negatives], dim=1)
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="none")


def document_negatives(queries_BD: Tensor, documents_ND: Tensor, is_negative_BN: Tensor) -> Negatives:
    """Term P: every document that is not right for the anchor."""
    return Negatives(_scores("bd,nd->bn", queries_BD, documents_ND), is_negative_BN)


def mined_negatives(queries_BD: Tensor, documents_BKD: Tensor, is_negative_BK: Tensor) -> Negatives:
    """Term P: K documents that were mined for the anchor alone."""
    return Negatives(_scores("bd,bkd->bk", queries_BD, documents_BKD), is_negative_BK)


def query_negatives(queries_ND: Tensor, documents_BD: Tensor, is_negative_BN: Tensor) -> Negatives:
    """Term IQ: every query, with its instruction, that the anchor's document is not right for."""
    return Negatives(_scores("bd,nd->bn", documents_BD, queries_ND), is_negative_BN)


def instruction_negatives(variants_BKD: Tensor, documents_BD: Tensor, is_negative_BK: Tensor) -> Negatives:
    """Term I: the anchor's query under K other instructions."""
    return Negatives(_scores("bkd,bd->bk", variants_BKD, documents_BD), is_negative_BK)


def _scores(axes: str, one: Tensor, other: Tensor) -> Tensor:
    """Multiply in the vectors' own precision: near 1 bf16 has steps of 0.004, and a temperature of 0.05 makes 0.08."""
    with torch.autocast(one.device.type, enabled=False):
        return torch.einsum(axes, one, other)
