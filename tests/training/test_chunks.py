"""Chunks change how much is held at once, never what comes out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from infembed.bundle import Tower
from infembed.inputs import Fusion, TextInput
from tests.training.toy import toy_config, toy_model, toy_rows
from training.config import LossConfig
from training.model import InfEmbed, open_model, query_inputs
from training.objective import batch_loss
from training.pairs import PairBatch, make_batch

WHOLE = 1_000_000


def make_model(directory: Path, **changes: object) -> InfEmbed:
    toy_config(directory)
    torch.manual_seed(0)
    return open_model(toy_model(directory, **({"tower": Tower.SHARED, "lora": None} | changes))).train()


def loss_and_gradients(
    model: InfEmbed, batch: PairBatch, *, chunk_tokens: int, recomputes: bool = False
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(7)  # of dropout
    model.zero_grad()
    queries = model.tokenize(query_inputs(batch.queries))
    documents = model.tokenize([TextInput(text) for text in batch.documents])
    encoded = model(queries, documents, chunk_tokens=chunk_tokens, recomputes=recomputes)
    loss = batch_loss(batch, encoded, LossConfig(dimensions=(32, 16, 8)))
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.query_tower.parameters() if p.grad is not None])


@pytest.mark.parametrize("fusion", list(Fusion))
def test_chunks_give_the_vectors_and_gradients_of_the_whole(tmp_path: Path, fusion: Fusion) -> None:
    model = make_model(tmp_path, fusion=fusion).double()
    batch = make_batch(toy_rows()[:6], share=0.2, seed=0)
    items = model.tokenize(query_inputs(batch.queries))
    whole = model(items, [], chunk_tokens=WHOLE).queries_QD
    torch.testing.assert_close(model(items, [], chunk_tokens=40).queries_QD, whole, atol=1e-6, rtol=0)
    loss, gradients = loss_and_gradients(model, batch, chunk_tokens=WHOLE)
    for chunk_tokens in (1, 40, 300):
        found = loss_and_gradients(model, batch, chunk_tokens=chunk_tokens)
        torch.testing.assert_close(found[0], loss, atol=1e-6, rtol=0)
        torch.testing.assert_close(found[1], gradients, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_what_is_computed_again_equals_what_was_kept(tmp_path: Path, dropout: float) -> None:
    model = make_model(tmp_path, dropout=dropout)
    batch = make_batch(toy_rows()[:6], share=0.2, seed=0)
    kept = loss_and_gradients(model, batch, chunk_tokens=100)
    again = loss_and_gradients(model, batch, chunk_tokens=100, recomputes=True)
    torch.testing.assert_close(again[0], kept[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(again[1], kept[1], atol=1e-6, rtol=0)


def test_dropout_of_the_configuration_is_felt_in_training_and_nowhere_else(tmp_path: Path) -> None:
    model = make_model(tmp_path, dropout=0.3)
    items = model.tokenize(query_inputs([("bread dough oven", None)]))

    def vectors() -> Tensor:
        found: Tensor = model(items, [], chunk_tokens=WHOLE).queries_QD
        return found.detach()

    assert not torch.equal(vectors(), vectors())
    model.eval()
    assert torch.equal(vectors(), vectors())


def held_bytes(run: Callable[[], object]) -> int:
    """Return the bytes that autograd keeps for the backward pass, each tensor's storage once."""
    storages: dict[int, int] = {}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        kept.append(tensor)  # so that no address is used twice
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storages.values())


@pytest.mark.slow
def test_batch_of_512_rows_keeps_no_activations_when_they_are_computed_again(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    rows = [
        row.model_copy(update={"query_positive": f"{row.query_positive} {number}"})
        for number in range(15)
        for row in toy_rows()
    ][:512]
    batch = make_batch(rows, share=1e-9, seed=0)
    queries = model.tokenize(query_inputs(batch.queries))
    documents = model.tokenize([TextInput(text) for text in batch.documents])
    assert len(batch.pairs) == 1536
    weights = sum(p.untyped_storage().nbytes() for p in model.parameters())
    kept = held_bytes(lambda: model(queries, documents, chunk_tokens=1024))
    again = held_bytes(lambda: model(queries, documents, chunk_tokens=1024, recomputes=True))
    assert kept > 20 * weights
    vectors = 4 * model.dim * (len(queries) + len(documents))
    assert again < 8 * vectors  # the unit vectors and what normalising them keeps, nothing of the encoder
    loss, gradients = loss_and_gradients(model, batch, chunk_tokens=1024, recomputes=True)
    assert torch.isfinite(loss)
    assert float(gradients.norm()) > 0
