"""A batch of anchored pairs: which documents are no negatives for which query, and which instructions contrast.

Rows give up to three pairs; all pairs of a row stand in the batch, so each is a hard negative of the others.
"""

import random
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from training.corpus.rows import AnchoredPair, Row


@dataclass(frozen=True)
class PairBatch:
    """The pairs of some rows, and `variants`: for each pair, other pairs whose instruction its query gets in term I."""

    pairs: tuple[AnchoredPair, ...]
    variants: tuple[tuple[int, ...], ...]

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """The documents, each once, in order of first use."""
        return tuple(dict.fromkeys(pair.document for pair in self.pairs))

    @cached_property
    def document_of_pair(self) -> tuple[int, ...]:
        place = {document: number for number, document in enumerate(self.documents)}
        return tuple(place[pair.document] for pair in self.pairs)

    @cached_property
    def queries(self) -> tuple[tuple[str, str | None], ...]:
        """Every (query, instruction) to encode, each once: those of the pairs, then those that only term I needs."""
        own = [(pair.query, pair.instruction) for pair in self.pairs]
        mixed = [
            (pair.query, self.pairs[other].instruction)
            for pair, others in zip(self.pairs, self.variants, strict=True)
            for other in others
        ]
        return tuple(dict.fromkeys([*own, *mixed]))

    @cached_property
    def query_of_pair(self) -> tuple[int, ...]:
        return tuple(self._place[(pair.query, pair.instruction)] for pair in self.pairs)

    @cached_property
    def _place(self) -> dict[tuple[str, str | None], int]:
        return {query: number for number, query in enumerate(self.queries)}

    def variant_queries(self) -> Tensor:
        """Return (B, K) places in `queries` of each pair's query under its variants' instructions; -1 where fewer."""
        width = max((len(others) for others in self.variants), default=0)
        table = torch.full((len(self.pairs), width), -1, dtype=torch.long)
        for row, (pair, others) in enumerate(zip(self.pairs, self.variants, strict=True)):
            for column, other in enumerate(others):
                table[row, column] = self._place[(pair.query, self.pairs[other].instruction)]
        return table


def make_batch(rows: Sequence[Row], *, share: float, seed: int, with_instructions: bool = True) -> PairBatch:
    """Make a batch; term I draws a share of the batch's other instructions for each pair, always its row's own first.

    A row's poisoned instruction is the one that matters most, so it is never left to chance. `share` 0: no variants.
    """
    pairs: list[AnchoredPair] = []
    row_of: list[range] = []
    for row in rows:
        held = row.pairs() if with_instructions else [pair._replace(instruction=None) for pair in row.pairs()]
        row_of += [range(len(pairs), len(pairs) + len(held))] * len(held)
        pairs += held
    draw = random.Random(seed)  # noqa: S311 - sampling, not secrets
    n_wanted = round(share * len(pairs))
    first = _first_of_each_instruction(pairs, range(len(pairs)))

    def variants_of(pair: AnchoredPair, row: range) -> tuple[int, ...]:
        if pair.instruction is None or share == 0:
            return ()
        of_row = _first_of_each_instruction(pairs, row)
        hard = [number for text, number in of_row.items() if text != pair.instruction]
        rest = [number for text, number in first.items() if text not in of_row]
        return (*hard, *draw.sample(rest, min(len(rest), max(0, n_wanted - len(hard)))))

    return PairBatch(tuple(pairs), tuple(map(variants_of, pairs, row_of)))


def _first_of_each_instruction(pairs: Sequence[AnchoredPair], numbers: Iterable[int]) -> dict[str, int]:
    """One pair for each instruction text among the pairs numbered."""
    first: dict[str, int] = {}
    for number in numbers:
        instruction = pairs[number].instruction
        if instruction is not None:
            first.setdefault(instruction, number)
    return first


class Contrast(NamedTuple):
    """Which pairs' documents, and which pairs' queries, are wrong for each anchor; (B, N) each, copies counted once."""

    is_wrong_document_BN: Tensor
    is_wrong_query_BN: Tensor


def contrast(anchors: Sequence[AnchoredPair], pairs: Sequence[AnchoredPair]) -> Contrast:
    """Tell negatives from what only looks like one, as far as the batch can know.

    A document is right for an anchor where some pair says so: it has the document and the anchor's wish. Where either
    side has no instruction the same query is enough: a plain query takes any document on its subject.
    """
    wish = _same([(a.query, a.instruction) for a in anchors], [(p.query, p.instruction) for p in pairs])
    query = _same([a.query for a in anchors], [p.query for p in pairs])
    is_plain = torch.tensor([a.instruction is None for a in anchors])[:, None]
    is_other_plain = torch.tensor([p.instruction is None for p in pairs])[None, :]
    document = _same([a.document for a in anchors], [p.document for p in pairs])
    fits = document | wish | (query & (is_plain | is_other_plain))
    return Contrast(
        _fits_no_copy(fits, [p.document for p in pairs]), _fits_no_copy(fits, [(p.query, p.instruction) for p in pairs])
    )


def is_wrong_variant(batch: PairBatch, pairs: Sequence[AnchoredPair]) -> Tensor:
    """Return (B, K): whether no pair says that the anchor's document is right under a variant's instruction.

    `pairs` are those of the whole step, as for `contrast`: another rank may know better.
    """
    right = set(pairs)
    table = batch.variant_queries()
    found = [
        [place >= 0 and (*batch.queries[place], pair.document) not in right for place in table[row].tolist()]
        for row, pair in enumerate(batch.pairs)
    ]
    return torch.tensor(found, dtype=torch.bool).reshape(table.shape)


def _fits_no_copy(fits_BN: Tensor, texts: Sequence[Hashable]) -> Tensor:
    """Mark the first copy of every text of which no copy fits."""
    place: dict[Hashable, int] = {}
    first_N = torch.tensor([place.setdefault(text, number) for number, text in enumerate(texts)], dtype=torch.long)
    n_fits_BN = torch.zeros(fits_BN.shape, dtype=torch.int32).index_add_(1, first_N, fits_BN.int())
    return (n_fits_BN == 0) & (first_N == torch.arange(len(texts)))


def _same(one: Sequence[Hashable], other: Sequence[Hashable]) -> Tensor:
    number: dict[Hashable, int] = {}
    first = torch.tensor([number.setdefault(value, len(number)) for value in one], dtype=torch.long)
    second = torch.tensor([number.setdefault(value, len(number)) for value in other], dtype=torch.long)
    return first[:, None] == second[None, :]
