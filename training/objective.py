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
    document_negatives,
    instruction_negatives,
    query_negatives,
)
from training.model import Encoded
from training.pairs import Contrast, PairBatch, contrast, is_wrong_variant


class Anchors(NamedTuple):
    """Pairs with the embedding of each one's query and document, (B, D) each."""

    pairs: tuple[AnchoredPair, ...]
    queries_BD: Tensor
    documents_BD: Tensor


def batch_loss(batch: PairBatch, encoded: Encoded, config: LossConfig) -> Tensor:
    """Return the loss of this rank's share of the step, scaled so that the mean over ranks is the whole step's mean."""
    own = _anchors(batch, encoded)
    everyone = _gather(own)
    positive_B = (own.queries_BD * own.documents_BD).sum(dim=1)
    wrong = contrast(own.pairs, everyone.pairs)
    terms = [_negatives(term, batch, encoded, own, everyone, wrong=wrong) for term in config.terms]
    losses_B = contrastive_loss(positive_B, terms, join=config.join, temperature=config.temperature)
    n_ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    return losses_B.sum() * n_ranks / len(everyone.pairs)


def _anchors(batch: PairBatch, encoded: Encoded) -> Anchors:
    device = encoded.queries_QD.device
    query = torch.tensor(batch.query_of_pair, device=device)
    document = torch.tensor(batch.document_of_pair, device=device)
    return Anchors(batch.pairs, encoded.queries_QD[query], encoded.documents_ND[document])


def _negatives(
    term: Term, batch: PairBatch, encoded: Encoded, own: Anchors, everyone: Anchors, *, wrong: Contrast
) -> Negatives:
    device = own.queries_BD.device
    if term is Term.I:
        place = batch.variant_queries().to(device).clamp(min=0)
        is_wrong = is_wrong_variant(batch, everyone.pairs).to(device)
        return instruction_negatives(encoded.queries_QD[place], own.documents_BD, is_wrong)
    if term is Term.P:
        return document_negatives(own.queries_BD, everyone.documents_BD, wrong.is_wrong_document_BN.to(device))
    return query_negatives(everyone.queries_BD, own.documents_BD, wrong.is_wrong_query_BN.to(device))


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
