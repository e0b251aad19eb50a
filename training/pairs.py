"""A batch of anchored pairs: which documents are no negatives for which query, and which instructions contrast.

Rows give up to three pairs; all pairs of a row stand in the batch, so each is a hard negative of the others.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.corpus.rows import AnchoredPair, Row

PickMined = Callable[[AnchoredPair, Collection[str]], tuple[str, ...]]
"""Returns the documents mined for a pair, without those that stand beside it in its row."""


def none_mined(_pair: AnchoredPair, _beside: Collection[str]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class PairBatch:
    """The pairs of some rows, and what each is contrasted with beyond the other pairs.

    `variants`: other pairs, whose instruction its query gets in term I. `mined`: documents for it alone, in term P.
    """

    pairs: tuple[AnchoredPair, ...]
    variants: tuple[tuple[int, ...], ...]
    mined: tuple[tuple[str, ...], ...]

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """Every document to encode, each once: those of the pairs in order of first use, then those only mined."""
        own = [pair.document for pair in self.pairs]
        return tuple(dict.fromkeys([*own, *(document for found in self.mined for document in found)]))

    @cached_property
    def document_of_pair(self) -> tuple[int, ...]:
        return tuple(self._document_place[pair.document] for pair in self.pairs)

    @cached_property
    def own_queries(self) -> tuple[tuple[str, str | None], ...]:
        """The (query, instruction) of the pairs, each once, in order of first use."""
        return tuple(dict.fromkeys((pair.query, pair.instruction) for pair in self.pairs))

    @cached_property
    def queries(self) -> tuple[tuple[str, str | None], ...]:
        """Every (query, instruction) to encode, each once: those of the pairs, then those that only term I needs."""
        mixed = [
            (pair.query, self.pairs[other].instruction)
            for pair, others in zip(self.pairs, self.variants, strict=True)
            for other in others
        ]
        return tuple(dict.fromkeys([*self.own_queries, *mixed]))

    @cached_property
    def query_of_pair(self) -> tuple[int, ...]:
        return tuple(self._place[(pair.query, pair.instruction)] for pair in self.pairs)

    @cached_property
    def _place(self) -> dict[tuple[str, str | None], int]:
        return {query: number for number, query in enumerate(self.queries)}

    @cached_property
    def _document_place(self) -> dict[str, int]:
        return {document: number for number, document in enumerate(self.documents)}

    def variant_queries(self) -> Tensor:
        """Return (B, K) places in `queries` of each pair's query under its variants' instructions; -1 where fewer."""
        return _table(
            [self._place[(pair.query, self.pairs[other].instruction)] for other in others]
            for pair, others in zip(self.pairs, self.variants, strict=True)
        )

    def mined_documents(self) -> Tensor:
        """Return (B, K) places in `documents` of what was mined for each pair; -1 where fewer."""
        return _table([self._document_place[document] for document in found] for found in self.mined)


def pairs_of(row: Row, *, with_instructions: bool) -> list[AnchoredPair]:
    """Return a row's anchored pairs, without their instructions where a run trains on none."""
    return row.pairs() if with_instructions else [pair._replace(instruction=None) for pair in row.pairs()]


def make_batch(
    rows: Sequence[Row], *, share: float, seed: int, with_instructions: bool = True, mined: PickMined = none_mined
) -> PairBatch:
    """Make a batch; term I draws a share of the batch's other instructions for each pair, always its row's own first.

    A row's poisoned instruction is the one that matters most, so it is never left to chance. `share` 0: no variants.
    """
    pairs: list[AnchoredPair] = []
    row_of: list[range] = []
    found: list[tuple[str, ...]] = []
    for row in rows:
        held = pairs_of(row, with_instructions=with_instructions)
        beside = {pair.document for pair in held}
        found += [mined(pair, beside) for pair in held]
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

    return PairBatch(tuple(pairs), tuple(map(variants_of, pairs, row_of)), tuple(found))


def _first_of_each_instruction(pairs: Sequence[AnchoredPair], numbers: Iterable[int]) -> dict[str, int]:
    """One pair for each instruction text among the pairs numbered."""
    first: dict[str, int] = {}
    for number in numbers:
        instruction = pairs[number].instruction
        if instruction is not None:
            first.setdefault(instruction, number)
    return first


class RightDocuments:
    """Which documents some pairs call right for an anchor: the rule of `contrast`, for any number of pairs."""

    def __init__(self, pairs: Iterable[AnchoredPair]) -> None:
        self._of_wish: defaultdict[tuple[str, str | None], set[str]] = defaultdict(set)
        self._of_query: defaultdict[str, set[str]] = defaultdict(set)
        for pair in pairs:
            self._of_wish[pair.query, pair.instruction].add(pair.document)
            self._of_query[pair.query].add(pair.document)

    def of(self, anchor: AnchoredPair) -> set[str]:
        if anchor.instruction is None:
            return {anchor.document} | self._of_query.get(anchor.query, set())
        wishes = ((anchor.query, anchor.instruction), (anchor.query, None))
        return {anchor.document}.union(*(self._of_wish.get(wish, set()) for wish in wishes))


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


def is_new_mined(batch: PairBatch, pairs: Sequence[AnchoredPair]) -> Tensor:
    """Return (B, K): which mined documents are none of the step's own, where they would count twice."""
    own = {pair.document for pair in pairs}
    return _table([document not in own for document in found] for found in batch.mined) == 1


def is_first(texts: Sequence[Hashable]) -> Tensor:
    """Mark the first copy of every text; (N,)."""
    return _first_places(texts) == torch.arange(len(texts))


def _fits_no_copy(fits_BN: Tensor, texts: Sequence[Hashable]) -> Tensor:
    """Mark the first copy of every text of which no copy fits."""
    n_fits_BN = torch.zeros(fits_BN.shape, dtype=torch.int32).index_add_(1, _first_places(texts), fits_BN.int())
    return (n_fits_BN == 0) & is_first(texts)


def _first_places(texts: Sequence[Hashable]) -> Tensor:
    place: dict[Hashable, int] = {}
    return torch.tensor([place.setdefault(text, number) for number, text in enumerate(texts)], dtype=torch.long)


def _table(rows: Iterable[Sequence[int]]) -> Tensor:
    """Make a table of rows of unequal length, filled up with -1."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=-1) if tensors else torch.empty((0, 0)).long()


def _same(one: Sequence[Hashable], other: Sequence[Hashable]) -> Tensor:
    number: dict[Hashable, int] = {}
    first = torch.tensor([number.setdefault(value, len(number)) for value in one], dtype=torch.long)
    second = torch.tensor([number.setdefault(value, len(number)) for value in other], dtype=torch.long)
    return first[:, None] == second[None, :]
