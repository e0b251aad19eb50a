"""Instruction and query to one vector: against formulas written out, and against the served graphs."""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from infembed.bundle import Pooling
from infembed.encoder import OnnxEncoder
from infembed.inputs import Fusion, InputType, TextInput
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import normalize
from tests.training.tiny_backbones import make_input, tiny_backbone
from training.backbone import FAMILIES, Backbone, load_backbone
from training.fusion import attend, fuse
from training.tokens import collate

TOLERANCE = 1e-9
every_family = pytest.mark.parametrize("family", FAMILIES)
every_pooling = pytest.mark.parametrize("pooling", Pooling)

MIXED = [make_input(5, 3), make_input(30), make_input(1, 20), make_input(2), make_input(14, 1)]


def _alone(items: Sequence[TokenizedInput]) -> list[list[TokenizedInput]]:
    return [[item] for item in items]


def _fuse(
    backbone: Backbone,
    items: Sequence[TokenizedInput],
    fusion: Fusion,
    *,
    pooling: Pooling = Pooling.MEAN,
    pools_instruction: bool = False,
) -> Tensor:
    with torch.no_grad():
        return fuse(backbone, _alone(items), fusion=fusion, pooling=pooling, pools_instruction=pools_instruction)


def _states(backbone: Backbone, ids: Sequence[int], instruction_ids: Sequence[int] = ()) -> Tensor:
    item = TokenizedInput(InputType.QUERY, tuple(ids), tuple(instruction_ids))
    with torch.no_grad():
        states: Tensor = backbone(collate([[item]], pad_id=backbone.pad_id))
    return states[0]


def _assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def _equation_4(instruction: Sequence[Sequence[float]], query: Sequence[Sequence[float]]) -> list[float]:
    """Eq. 4 of the paper, number by number."""
    dim = len(query[0])
    mean = [0.0] * dim
    for wish in instruction:
        scores = [sum(a * b for a, b in zip(wish, token, strict=True)) / math.sqrt(dim) for token in query]
        weights = [math.exp(score - max(scores)) for score in scores]
        for weight, token in zip(weights, query, strict=True):
            for axis in range(dim):
                mean[axis] += weight / sum(weights) * token[axis] / len(instruction)
    return mean


def test_attention_of_two_query_tokens_by_hand() -> None:
    """One instruction token scores 2 ln 3 / sqrt 4 = ln 3 with the first query token and 0 with the second: 3 to 1."""
    instruction = torch.tensor([[[2 * math.log(3), 0.0, 0.0, 0.0]]])
    query = torch.tensor([[[1.0, 4.0, 0.0, 0.0], [0.0, 0.0, 8.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    is_query = torch.tensor([[True, True, False]])
    found = attend(instruction, query, is_instruction_BI=torch.tensor([[True]]), is_query_BT=is_query)
    assert found[0].tolist() == pytest.approx([0.75, 3.0, 2.0, 0.0])


def test_attention_means_over_instruction_tokens_without_padding() -> None:
    instruction = torch.tensor([[[100.0], [-100.0], [55.0]]])
    query = torch.tensor([[[1.0], [-3.0]]])
    found = attend(
        instruction,
        query,
        is_instruction_BI=torch.tensor([[True, True, False]]),
        is_query_BT=torch.tensor([[True, True]]),
    )
    # The first looks at 1 alone, the second at -3 alone.
    assert found.tolist() == [[-1.0]]


@every_family
def test_attention_is_the_papers_equation_on_the_two_texts_encoded_apart(family: str) -> None:
    backbone = tiny_backbone(family)
    found = _fuse(backbone, MIXED, Fusion.ATTENTION)
    for item, vector in zip(MIXED, found, strict=True):
        if item.instruction_ids:
            instruction, query = _states(backbone, item.instruction_ids), _states(backbone, item.ids)
            expected = torch.tensor(_equation_4(instruction.tolist(), query.tolist()), dtype=torch.float64)
            _assert_equal(vector, expected)


@every_family
def test_prefix_pools_the_querys_tokens_only(family: str) -> None:
    backbone = tiny_backbone(family)
    item = make_input(6, 4)
    states = _states(backbone, item.ids, item.instruction_ids)
    _assert_equal(_fuse(backbone, [item], Fusion.PREFIX)[0], states[4:].mean(0))
    _assert_equal(_fuse(backbone, [item], Fusion.PREFIX, pooling=Pooling.CLS)[0], states[4])
    _assert_equal(_fuse(backbone, [item], Fusion.PREFIX, pools_instruction=True)[0], states.mean(0))


@every_family
@every_pooling
@pytest.mark.parametrize("fusion", Fusion)
def test_a_mixed_batch_equals_each_row_alone(family: str, pooling: Pooling, fusion: Fusion) -> None:
    backbone = tiny_backbone(family)
    together = _fuse(backbone, MIXED, fusion, pooling=pooling)
    for item, vector in zip(MIXED, together, strict=True):
        _assert_equal(vector, _fuse(backbone, [item], fusion, pooling=pooling)[0])


@every_family
@every_pooling
def test_without_instruction_every_fusion_is_the_plain_query(family: str, pooling: Pooling) -> None:
    backbone = tiny_backbone(family)
    for fusion, pools_instruction in product(Fusion, (False, True)):
        found = _fuse(backbone, MIXED, fusion, pooling=pooling, pools_instruction=pools_instruction)
        for item, vector in zip(MIXED, found, strict=True):
            if not item.instruction_ids:
                states = _states(backbone, item.ids)
                _assert_equal(vector, states[0] if pooling is Pooling.CLS else states.mean(0))


@pytest.mark.parametrize("fusion", [Fusion.PREFIX, Fusion.ATTENTION])
def test_the_instruction_and_the_query_both_matter_and_both_learn(fusion: Fusion) -> None:
    backbone = tiny_backbone("bert")
    one, other_wish, other_query = make_input(6, 4), make_input(6, 4, seed=1), make_input(6, 4, seed=2)
    items = [
        one,
        TokenizedInput(InputType.QUERY, one.ids, other_wish.instruction_ids),
        TokenizedInput(InputType.QUERY, other_query.ids, one.instruction_ids),
        TokenizedInput(InputType.QUERY, one.ids),
    ]
    vectors = fuse(backbone, _alone(items), fusion=fusion, pooling=Pooling.MEAN, pools_instruction=False)
    assert torch.pdist(vectors.detach()).min() > 1e-2
    torch.autograd.backward(vectors[0].square().sum())
    embeddings = backbone.encoder.get_input_embeddings().weight.grad
    assert embeddings[[*one.ids, *one.instruction_ids]].abs().sum(1).min() > 0


@every_family
@pytest.mark.parametrize("fusion", Fusion)
def test_half_precision_gives_finite_vectors_and_gradients(family: str, fusion: Fusion) -> None:
    backbone = tiny_backbone(family).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = fuse(backbone, _alone(MIXED), fusion=fusion, pooling=Pooling.MEAN, pools_instruction=False)
    assert vectors.isfinite().all()
    torch.autograd.backward(vectors.float().square().sum())
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())


TEXTS = [
    TextInput("how to bake bread", InputType.QUERY, "only for beginners, not with yeast"),
    TextInput("bike", InputType.QUERY, "a"),
    TextInput("why does the chain of a bike break on the road", InputType.QUERY, " "),
    TextInput("oven price", InputType.QUERY),
    TextInput("Zwölf Brötchen!", InputType.QUERY, "story about water, salt and flour. " * 20),
    TextInput("the cost of a tyre " * 20, InputType.QUERY, "list of causes only"),
    TextInput("a guide to dough", InputType.DOCUMENT),
]


def test_training_encodes_what_the_bundle_serves(any_tiny_bundle: Path) -> None:
    served = OnnxEncoder.open(any_tiny_bundle)
    backbone, tokenizer = load_backbone(str(any_tiny_bundle.parent / "checkpoint"))
    manifest = served.bundle.manifest
    items = BundleTokenizer(tokenizer, manifest).tokenize(TEXTS)
    assert items == served.tokenizer.tokenize(TEXTS)
    trained = _fuse(backbone.eval(), items, manifest.fusion, pooling=manifest.pooling)
    np.testing.assert_allclose(normalize(trained.numpy()), served.encode_queries(TEXTS), atol=1e-5)
