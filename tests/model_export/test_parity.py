"""The assembled bundle against the original model in PyTorch."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from infembed.bundle import Bundle, GraphName, Precision
from infembed.config import parse_json
from infembed.encoder import OnnxEncoder
from infembed.errors import MissingArtefactError
from infembed.inputs import Fusion
from infembed.onnx_runtime import ort
from infembed.vectors import FloatArray
from model_export.assemble import BASE_RECIPE, Recipe, assemble, find_base, find_recipe
from tests.tiny import make_checkpoint, make_tiny_bundle

Ids = npt.NDArray[np.int64]
TOLERANCE = 1e-4


def _load(checkpoint: Path) -> BertModel:
    config = BertConfig(**json.loads((checkpoint / "config.json").read_text()), attn_implementation="eager")
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)
    return model.eval()


def _states(model: BertModel, ids: list[int], allowed: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """Token states (T, D) of one sequence; `allowed` (T, T) says which token may see which."""
    with torch.no_grad():
        embedded = model.embeddings(torch.tensor([ids]))
        mask = None if allowed is None else torch.where(torch.tensor(allowed), 0.0, -1e9)[None, None]
        states: FloatArray = model.encoder(embedded, attention_mask=mask).last_hidden_state[0].numpy()
    return states


def _prefix_reference(model: BertModel, instruction: list[int], query: list[int]) -> FloatArray:
    n = len(instruction)
    allowed = np.ones((n + len(query),) * 2, dtype=np.bool_)
    allowed[:n, n:] = False
    mean: FloatArray = _states(model, instruction + query, allowed)[n:].mean(0)
    return mean


def _attention_reference(model: BertModel, instruction: list[int], query: list[int]) -> FloatArray:
    """Eq. 4 of the paper, written out."""
    states_i, states_q = _states(model, instruction), _states(model, query)
    scores = states_i @ states_q.T / np.sqrt(states_q.shape[1])
    weights = np.exp(scores - scores.max(1, keepdims=True))
    mean: FloatArray = (weights / weights.sum(1, keepdims=True) @ states_q).mean(0)
    return mean


def _random_ids(rng: np.random.Generator, n: int, vocabulary: int) -> list[int]:
    return [int(i) for i in rng.integers(4, vocabulary, n)]


def _padded(rows: list[list[int]], *, left: bool, extra: int = 3) -> tuple[Ids, Ids]:
    width = max(len(row) for row in rows) + extra
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, where] = row
        mask[number, where] = 1
    return ids, mask


def _session(bundle: Path, graph: GraphName) -> ort.InferenceSession:
    path = Bundle.open(bundle).graph_path(graph, Precision.FP32)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("fusion", "reference"), [(Fusion.PREFIX, _prefix_reference), (Fusion.ATTENTION, _attention_reference)]
)
def test_fused_queries_equal_pytorch(tmp_path: Path, fusion: Fusion, reference: object, left: bool) -> None:
    bundle = make_tiny_bundle(tmp_path, fusion=fusion)
    model = _load(tmp_path / "checkpoint")
    rng = np.random.default_rng(1)
    vocabulary = model.config.vocab_size
    instructions = [_random_ids(rng, n, vocabulary) for n in (1, 5, 30)]
    queries = [_random_ids(rng, n, vocabulary) for n in (1, 2, 7, 30)]
    index = [0, 2, 1, 2]
    instruction_ids, instruction_mask = _padded(instructions, left=left)
    state = _session(bundle, GraphName.INSTRUCTION).run(
        None, {"input_ids": instruction_ids, "attention_mask": instruction_mask}
    )[0]
    ids, mask = _padded(queries, left=left)
    feeds = {
        "input_ids": ids,
        "attention_mask": mask,
        "instruction_state": state,
        "instruction_mask": instruction_mask,
        "instruction_index": np.array(index, dtype=np.int64),
    }
    (found,) = _session(bundle, GraphName.QUERY).run(None, feeds)
    assert callable(reference)
    expected = [reference(model, instructions[i], query) for i, query in zip(index, queries, strict=True)]
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("left", [False, True])
def test_documents_equal_pytorch_at_every_length(tmp_path: Path, left: bool) -> None:
    bundle = make_tiny_bundle(tmp_path)
    model = _load(tmp_path / "checkpoint")
    rng = np.random.default_rng(2)
    rows = [_random_ids(rng, n, model.config.vocab_size) for n in range(1, 65)]
    ids, mask = _padded(rows, left=left, extra=0)
    (found,) = _session(bundle, GraphName.DOCUMENT).run(None, {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(found, [_states(model, row).mean(0) for row in rows], atol=2e-6)


def test_a_row_without_instruction_is_the_plain_query(any_tiny_bundle: Path) -> None:
    bundle = Bundle.open(any_tiny_bundle)
    if bundle.manifest.fusion is Fusion.CONCAT:
        return  # it has no instruction graph: nothing to mask
    ids, mask = _padded([[2, 7, 9, 3], [2, 8, 3]], left=False)
    tokens = {"input_ids": ids, "attention_mask": mask}
    nothing = {"input_ids": np.zeros((1, 1), np.int64), "attention_mask": np.zeros((1, 1), np.int64)}
    state = _session(any_tiny_bundle, GraphName.INSTRUCTION).run(None, nothing)[0]
    feeds = {
        **tokens,
        "instruction_state": state,
        "instruction_mask": nothing["attention_mask"],
        "instruction_index": np.zeros(2, np.int64),
    }
    plain = _session(any_tiny_bundle, GraphName.DOCUMENT).run(None, tokens)[0]
    np.testing.assert_allclose(_session(any_tiny_bundle, GraphName.QUERY).run(None, feeds)[0], plain, atol=2e-6)


@pytest.fixture(scope="module")
def real_base() -> Path:
    recipe = parse_json(Recipe, find_recipe(BASE_RECIPE) / "recipe.json")
    try:
        return find_base(recipe.base)
    except MissingArtefactError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("left", [False, True])
def test_the_default_bundle_equals_the_original_model(real_base: Path, tmp_path: Path, left: bool) -> None:
    """200 texts of every length from 1 token to the maximum, batched and alone, pads on either side."""
    assemble(find_recipe(BASE_RECIPE), tmp_path / "bundle")
    encoder = OnnxEncoder.open(tmp_path / "bundle")
    model = _load(real_base)
    rng = np.random.default_rng(3)
    lengths = sorted({1, 2, 3, *np.linspace(4, 256, 197).astype(int).tolist()})
    assert len(lengths) == 200
    rows = [_random_ids(rng, n, model.config.vocab_size) for n in lengths]
    expected = np.array([_states(model, row).mean(0) for row in rows])
    session = _session(tmp_path / "bundle", GraphName.DOCUMENT)
    for start in range(0, len(rows), 20):
        part = slice(start, start + 20)
        ids, mask = _padded(rows[part], left=left)
        (batched,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        assert np.abs(batched - expected[part]).max() <= TOLERANCE
    for row, reference in zip(rows[::5], expected[::5], strict=True):
        ids, mask = _padded([row], left=left, extra=0)
        (alone,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        assert np.abs(alone[0] - reference).max() <= TOLERANCE
    assert encoder.dim == 384


def test_a_checkpoint_of_another_seed_gives_other_vectors(tmp_path: Path) -> None:
    first, second = (_load(make_checkpoint(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    assert np.abs(_states(first, [2, 7, 3]) - _states(second, [2, 7, 3])).max() > 1e-2
