"""From a batch of pairs and its embeddings to the loss; across ranks every rank's pairs are negatives of all."""

from typing import NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather

from training.config import LossConfig
from training.corpus.rows import AnchoredPair
from training.losses import (
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
from training.model import Encoded
from training.pairs import PairBatch, contrast, is_first, is_new_mined, is_wrong_variant


class Anchors(NamedTuple):
    """Pairs with the embedding of each one's query and document, (B, D) each."""

    pairs: tuple[AnchoredPair, ...]
    queries_BD: Tensor
    documents_BD: Tensor


class Step(NamedTuple):
    """A rank's batch with its embeddings, its anchors, and the anchors of every rank."""

    batch: PairBatch
    encoded: Encoded
    own: Anchors
    everyone: Anchors

    def cut(self, width: int) -> "Step":
        """Cut every embedding to its first coordinates, as unit vectors."""
        if width == self.encoded.queries_QD.shape[1]:
            return self
        encoded = Encoded(cut(self.encoded.queries_QD, width), cut(self.encoded.documents_ND, width))
        pairs, queries_BD, documents_BD = self.everyone
        everyone = Anchors(pairs, cut(queries_BD, width), cut(documents_BD, width))
        return Step(self.batch, encoded, _anchors(self.batch, encoded), everyone)


class Masks(NamedTuple):
    """What counts in a step: (B, N) and (B, K) as in the losses, and the first copy of each document (N,)."""

    wrong_documents_BN: Tensor
    wrong_queries_BN: Tensor
    wrong_variants_BK: Tensor
    new_mined_BK: Tensor
    different_documents_N: Tensor


def batch_loss(batch: PairBatch, encoded: Encoded, config: LossConfig, taught: Encoded | None = None) -> Tensor:
    """Return the loss of this rank's share of the step, scaled so that the mean over ranks is the whole step's mean.

    `taught` is what the teacher makes of the batch: its own queries, and every document.
    """
    step = _step(batch, encoded)
    masks = _masks(step)
    teacher = None if taught is None else _every_document(_step(batch, taught), masks)
    widths = config.dimensions or (encoded.queries_QD.shape[1],)
    losses_B = torch.stack([_losses(step.cut(width), masks, config, teacher) for width in widths]).mean(dim=0)
    n_ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    return losses_B.sum() * n_ranks / len(step.everyone.pairs)


def _losses(step: Step, masks: Masks, config: LossConfig, teacher: Negatives | None) -> Tensor:
    """Return each anchor's loss (B,)."""
    positive_B = (step.own.queries_BD * step.own.documents_BD).sum(dim=1)
    terms = [_negatives(term, step, masks) for term in config.terms]
    losses_B = contrastive_loss(positive_B, terms, join=config.join, temperature=config.temperature)
    if teacher is None:
        return losses_B
    student = _every_document(step, masks)
    learned_B = distillation_loss(
        student.scores_BK, teacher.scores_BK, student.is_negative_BK, temperature=config.temperature
    )
    return losses_B + config.teacher_weight * learned_B


def _negatives(term: Term, step: Step, masks: Masks) -> Negatives:
    if term is Term.P:
        return _documents(step, masks.wrong_documents_BN, masks.new_mined_BK)
    if term is Term.IQ:
        return query_negatives(step.everyone.queries_BD, step.own.documents_BD, masks.wrong_queries_BN)
    place = step.batch.variant_queries().to(masks.wrong_variants_BK.device).clamp(min=0)
    return instruction_negatives(step.encoded.queries_QD[place], step.own.documents_BD, masks.wrong_variants_BK)


def _every_document(step: Step, masks: Masks) -> Negatives:
    """Score the step's documents, right or wrong, each once, and what was mined for each anchor."""
    different_BN = masks.different_documents_N.expand(len(step.own.pairs), -1)
    return _documents(step, different_BN, masks.new_mined_BK)


def _documents(step: Step, counts_BN: Tensor, counts_BK: Tensor) -> Negatives:
    queries_BD = step.own.queries_BD
    place = step.batch.mined_documents().to(queries_BD.device).clamp(min=0)
    mined = mined_negatives(queries_BD, step.encoded.documents_ND[place], counts_BK)
    return together([document_negatives(queries_BD, step.everyone.documents_BD, counts_BN), mined])


def _masks(step: Step) -> Masks:
    pairs = step.everyone.pairs
    wrong = contrast(step.own.pairs, pairs)
    found = Masks(
        wrong_documents_BN=wrong.is_wrong_document_BN,
        wrong_queries_BN=wrong.is_wrong_query_BN,
        wrong_variants_BK=is_wrong_variant(step.batch, pairs),
        new_mined_BK=is_new_mined(step.batch, pairs),
        different_documents_N=is_first([pair.document for pair in pairs]),
    )
    return Masks(*(mask.to(step.own.queries_BD.device) for mask in found))


def _step(batch: PairBatch, encoded: Encoded) -> Step:
    own = _anchors(batch, encoded)
    return Step(batch, encoded, own, _gather(own))


def _anchors(batch: PairBatch, encoded: Encoded) -> Anchors:
    device = encoded.queries_QD.device
    query = torch.tensor(batch.query_of_pair, device=device)
    document = torch.tensor(batch.document_of_pair, device=device)
    return Anchors(batch.pairs, encoded.queries_QD[query], encoded.documents_ND[document])


def _gather(own: Anchors) -> Anchors:
    """Collect every rank's anchors, in order of ranks; gradients flow back to the rank they came from."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return own
    shares: list[tuple[AnchoredPair, ...]] = [() for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(shares, own.pairs)
    most = max(len(share) for share in shares)
    stacked = torch.stack([_padded(own.queries_BD, most), _padded(own.documents_BD, most)])
    gathered = all_gather(stacked)  # type: ignore[no-untyped-call]
    found = [part[:, : len(share)] for part, share in zip(gathered, shares, strict=True)]
    both = torch.cat(found, dim=1)
    pairs = tuple(AnchoredPair(*pair) for share in shares for pair in share)
    return Anchors(pairs, both[0], both[1])


def _padded(vectors_BD: Tensor, n: int) -> Tensor:
    missing = vectors_BD.new_zeros((n - len(vectors_BD), vectors_BD.shape[1]))
    return torch.cat([vectors_BD, missing])
