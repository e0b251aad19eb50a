"""The loss of a step: a literal reading of the formulas, and ranks that together are one."""

import math
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

from tests.training.toy import toy_rows
from training.config import LossConfig
from training.corpus.rows import AnchoredPair, Row
from training.losses import Join, Term
from training.model import Encoded
from training.objective import batch_loss
from training.pairs import PairBatch, PickMined, is_wrong_variant, make_batch, none_mined

DIM = 16
WIDTHS = (16, 12, 8)


def embed(texts: list[tuple[str, str | None]], table: Tensor) -> Tensor:
    """Give each text a vector of its own: the rows of a table, chosen by the letters."""
    places = [sum(f"{text}|{instruction}".encode()) % len(table) for text, instruction in texts]
    return F.normalize(table[places], dim=1)


def encoded(batch: PairBatch, table: Tensor) -> Encoded:
    return Encoded(embed(list(batch.queries), table), embed([(text, None) for text in batch.documents], table))


def make_table(*, dim: int = DIM, seed: int = 3) -> Tensor:
    return torch.randn((97, dim), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TAUGHT = make_table(dim=5, seed=4)
TAUGHT_CONFIG = LossConfig(terms=tuple(Term), teacher="a run", teacher_weight=0.7)


def taught(batch: PairBatch) -> Encoded:
    """What a teacher of another dim makes of a batch."""
    return Encoded(embed(list(batch.own_queries), TAUGHT), embed([(text, None) for text in batch.documents], TAUGHT))


def mined_for(pair: AnchoredPair, beside: Collection[str]) -> tuple[str, ...]:
    """Give two of three pairs documents from elsewhere; the first stands in the batches of these tests as well."""
    anywhere = (toy_rows()[2].document_positive, f"far from {pair.document}", "far")
    return tuple(text for text in anywhere if text not in beside) if "the" in pair.document else ()


def literal_loss(batch: PairBatch, table: Tensor, config: LossConfig) -> float:
    widths = config.dimensions or (table.shape[1],)
    return sum(literal_loss_of_width(batch, table[:, :width], config) for width in widths) / len(widths)


def literal_loss_of_width(batch: PairBatch, table: Tensor, config: LossConfig) -> float:
    """Write the formulas down pair by pair; nothing here is shared with the code under test."""

    def score(query: tuple[str, str | None], document: str, table: Tensor = table) -> float:
        one, other = embed([query], table)[0], embed([(document, None)], table)[0]
        return float(one @ other) / config.temperature

    def shares(query: tuple[str, str | None], documents: list[str], table: Tensor) -> list[float]:
        powers = [math.exp(score(query, document, table)) for document in documents]
        return [power / sum(powers) for power in powers]

    right = {(pair.query, pair.instruction, pair.document) for pair in batch.pairs}
    total = 0.0
    for number, pair in enumerate(batch.pairs):
        wish = (pair.query, pair.instruction)
        mined = set(batch.mined[number]) - {p.document for p in batch.pairs}
        documents = {p.document for p in batch.pairs if (*wish, p.document) not in right} | mined
        queries = {
            (p.query, p.instruction) for p in batch.pairs if (p.query, p.instruction, pair.document) not in right
        }
        instructions = {batch.pairs[other].instruction for other in batch.variants[number]}
        variants = {(pair.query, text) for text in instructions if (pair.query, text, pair.document) not in right}
        blocks = {
            Term.P: [score(wish, document) for document in documents],
            Term.IQ: [score(query, pair.document) for query in queries],
            Term.I: [score(query, pair.document) for query in variants],
        }
        chosen = [blocks[term] for term in config.terms]
        if config.join is Join.UNI:
            chosen = [[value for block in chosen for value in block]]
        positive = math.exp(score(wish, pair.document))
        total += sum(-math.log(positive / (positive + sum(map(math.exp, block)))) for block in chosen)
        if config.teacher is not None:
            every = sorted({p.document for p in batch.pairs} | mined)
            both = zip(shares(wish, every, TAUGHT), shares(wish, every, table), strict=True)
            total += config.teacher_weight * sum(p * math.log(p / q) for p, q in both)
    return total / len(batch.pairs)


@pytest.mark.parametrize("widths", [(), WIDTHS])
@pytest.mark.parametrize("join", list(Join))
@pytest.mark.parametrize(
    "terms", [(Term.P,), (Term.IQ,), (Term.I,), (Term.P, Term.I), (Term.P, Term.IQ), (Term.P, Term.I, Term.IQ)]
)
def test_loss_of_a_batch_is_the_paper_s_formula(terms: tuple[Term, ...], join: Join, widths: tuple[int, ...]) -> None:
    config = LossConfig(terms=terms, join=join, share=0.3, dimensions=widths)
    batch = make_batch(toy_rows()[:5], share=0.3, seed=1)
    table = make_table()
    assert float(batch_loss(batch, encoded(batch, table), config)) == pytest.approx(literal_loss(batch, table, config))


@pytest.mark.parametrize("widths", [(), WIDTHS])
@pytest.mark.parametrize("join", list(Join))
def test_mined_documents_are_negatives_of_their_own_pair_in_term_p(join: Join, widths: tuple[int, ...]) -> None:
    config = LossConfig(terms=(Term.P, Term.I), join=join, share=0.3, dimensions=widths)
    batch = make_batch(toy_rows()[:5], share=0.3, seed=1, mined=mined_for)
    table = make_table()
    found = float(batch_loss(batch, encoded(batch, table), config))
    assert found == pytest.approx(literal_loss(batch, table, config))
    without = make_batch(toy_rows()[:5], share=0.3, seed=1)
    assert found > float(batch_loss(without, encoded(without, table), config))


@pytest.mark.parametrize("mined", [mined_for, none_mined])
@pytest.mark.parametrize("widths", [(), WIDTHS])
def test_teacher_of_another_dim_adds_its_divergence(widths: tuple[int, ...], mined: PickMined) -> None:
    config = TAUGHT_CONFIG.model_copy(update={"dimensions": widths})
    batch = make_batch(toy_rows()[:5], share=0.3, seed=1, mined=mined)
    table = make_table()
    found = float(batch_loss(batch, encoded(batch, table), config, taught(batch)))
    assert found == pytest.approx(literal_loss(batch, table, config))


def test_loss_without_instructions_contrasts_documents_alone() -> None:
    config = LossConfig(terms=(Term.P,), with_instructions=False)
    batch = make_batch(toy_rows()[:5], share=0, seed=1, with_instructions=False)
    assert {pair.instruction for pair in batch.pairs} == {None}
    assert float(batch_loss(batch, encoded(batch, make_table()), config)) > 0


def _shares() -> list[list[Row]]:
    """Three rows and one; the one has a single pair, so the ranks hold 9 pairs and 1."""
    rows = toy_rows()
    short = rows[20].model_copy(
        update=dict.fromkeys(
            ("instruction_negative", "hard_negative_document_1", "query_negative", "hard_negative_document_2")
        )
    )
    return [rows[:3], [short]]


def _on_rank(rank: int, address: str, config: LossConfig, out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    table = make_table().requires_grad_()
    batch = make_batch(_shares()[rank], share=1e-9, seed=0, mined=mined_for)
    loss = batch_loss(batch, encoded(batch, table), config, taught(batch))
    loss.backward()  # type: ignore[no-untyped-call]
    assert table.grad is not None
    mean = torch.stack([loss.detach(), *table.grad.flatten()])
    distributed.all_reduce(mean)  # DDP averages gradients
    torch.save(mean / 2, out / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("join", list(Join))
def test_two_ranks_with_unequal_shares_are_one_rank_with_all_rows(tmp_path: Path, join: Join) -> None:
    config = TAUGHT_CONFIG.model_copy(update={"join": join, "dimensions": WIDTHS})
    table = make_table().requires_grad_()
    batch = make_batch([row for share in _shares() for row in share], share=1e-9, seed=0, mined=mined_for)
    loss = batch_loss(batch, encoded(batch, table), config, taught(batch))
    loss.backward()  # type: ignore[no-untyped-call]
    assert table.grad is not None
    spawn(_on_rank, (str(tmp_path / "store"), config, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert float(found[0]) == pytest.approx(float(loss.detach()), abs=1e-9)
        torch.testing.assert_close(found[1:], table.grad.flatten(), atol=1e-9, rtol=0)


def test_wish_that_another_rank_s_pair_grants_is_no_wrong_variant() -> None:
    rows = toy_rows()
    batch = make_batch(rows[:1], share=1e-9, seed=0)
    assert is_wrong_variant(batch, batch.pairs).any()
    granted = batch.pairs[0]._replace(instruction=batch.pairs[1].instruction)
    before = is_wrong_variant(batch, batch.pairs)
    assert bool(before[0, 0])
    assert not bool(is_wrong_variant(batch, [*batch.pairs, granted])[0, 0])
