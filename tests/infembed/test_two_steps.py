"""A query with an instruction in one step and in two: with states computed before, kept, and padded into one batch."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from infembed.bundle import Bundle, GraphName, Precision, Tower
from infembed.encoder import OnnxEncoder
from infembed.execution import Footprint
from infembed.graphs import PlainGraph
from infembed.inputs import Fusion, InputType
from infembed.sessions import open_session, session_options
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from model_export.recipe import TrainedFactors
from tests.tiny import make_bundle, make_checkpoint, make_tiny_bundle

TOLERANCE = 1e-5
WITH_STATES = [Fusion.PREFIX, Fusion.ATTENTION]
INSTRUCTIONS: list[tuple[int, ...]] = [(2, 9, 3), (), (2, *range(5, 25), 3), (2, 11, 12, 3), (), (2, 9, 3)]
Feeds = dict[str, npt.NDArray[Any]]


def _queries() -> list[TokenizedInput]:
    lengths = [5, 1, 9, 17, 3, 2]
    return [
        TokenizedInput(InputType.QUERY, ids=(2, *range(20, 20 + length), 3), instruction_ids=instruction)
        for length, instruction in zip(lengths, INSTRUCTIONS, strict=True)
    ]


@pytest.fixture(scope="module", params=[(tower, fusion) for tower in Tower for fusion in WITH_STATES], ids=str)
def bundle_with_states(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle of every tower with every fusion that keeps instruction states."""
    tower, fusion = request.param
    directory = tmp_path_factory.mktemp("states")
    if tower is Tower.SHARED:
        return make_tiny_bundle(directory, fusion=fusion)
    rng = np.random.default_rng(1)
    module = "encoder.layer.1.attention.self.key"
    factors = {
        f"{module}.lora_A.weight": rng.normal(size=(4, 32)).astype(np.float32),
        f"{module}.lora_B.weight": rng.normal(size=(32, 4)).astype(np.float32),
    }
    trained = TrainedFactors(factors, scale=0.5, tower=tower)
    return make_bundle(make_checkpoint(directory / "checkpoint"), directory, fusion=fusion, trained=trained)


def test_two_steps_equal_one_with_instructions_of_different_lengths_and_none(bundle_with_states: Path) -> None:
    encoder = OnnxEncoder.open(bundle_with_states)
    states = encoder.encode_instructions(INSTRUCTIONS)
    in_two_steps = encoder.encode_queries_with(states, _queries())
    np.testing.assert_allclose(in_two_steps, encoder.encode(_queries()), atol=TOLERANCE)
    for query, vector in zip(_queries(), in_two_steps, strict=True):
        np.testing.assert_allclose(encoder.encode([query])[0], vector, atol=TOLERANCE)


def test_a_small_footprint_gives_the_same_vectors(bundle_with_states: Path) -> None:
    mixed = [*_queries(), TokenizedInput(InputType.DOCUMENT, ids=(2, *range(5, 45), 3))]
    small, fast = (OnnxEncoder.open(bundle_with_states, footprint=footprint) for footprint in Footprint)
    np.testing.assert_allclose(small.encode(mixed), fast.encode(mixed), atol=TOLERANCE)


def test_a_batch_that_takes_several_runs_keeps_the_order_of_its_queries(bundle_with_states: Path) -> None:
    encoder = OnnxEncoder.open(bundle_with_states, n_threads=1)
    queries = _queries() * 20
    states = encoder.encode_instructions(query.instruction_ids for query in queries)
    once = encoder.encode_queries_with(states, _queries())
    np.testing.assert_allclose(encoder.encode_queries_with(states, queries), np.tile(once, (20, 1)), atol=TOLERANCE)
    assert encoder.encode_queries_with(states, []).shape == (0, encoder.dim)


def test_queries_without_any_instruction_need_no_states(bundle_with_states: Path) -> None:
    encoder = OnnxEncoder.open(bundle_with_states)
    plain = [TokenizedInput(InputType.QUERY, query.ids) for query in _queries()]
    assert encoder.encode_instructions(query.instruction_ids for query in plain) == {}
    np.testing.assert_allclose(encoder.encode_queries_with({}, plain), encoder.encode(plain), atol=TOLERANCE)


def test_an_instruction_has_the_same_states_alone_as_among_longer_ones(bundle_with_states: Path) -> None:
    encoder = OnnxEncoder.open(bundle_with_states)
    together = encoder.encode_instructions(INSTRUCTIONS)
    assert list(map(len, together)) == [state.shape[-2] for state in together.values()]
    for instruction, state in together.items():
        (alone,) = encoder.encode_instructions([instruction]).values()
        np.testing.assert_allclose(state, alone, atol=TOLERANCE)


def test_states_own_their_memory(bundle_with_states: Path) -> None:
    states = OnnxEncoder.open(bundle_with_states).encode_instructions(INSTRUCTIONS)
    assert all(state.base is None and state.flags.c_contiguous for state in states.values())


def test_states_kept_in_half_precision_move_vectors_by_little(bundle_with_states: Path) -> None:
    encoder = OnnxEncoder.open(bundle_with_states)
    states = encoder.encode_instructions(INSTRUCTIONS)
    halves = {ids: state.astype(np.float16).astype(np.float32) for ids, state in states.items()}
    exact, rounded = (encoder.encode_queries_with(kept, _queries()) for kept in (states, halves))
    assert 0 < np.abs(exact - rounded).max() < 5e-3


def _one_query(bundle: Path, *, pads_left: bool) -> FloatArray:
    """Run the graph files themselves on one query and instruction, both with pads on one side."""
    graphs = {
        name: PlainGraph(open_session(Bundle.open(bundle).graph_path(name, Precision.FP32), session_options(1)))
        for name in (GraphName.INSTRUCTION, GraphName.QUERY)
    }
    instruction, query = (_padded(ids, pads_left=pads_left) for ids in ((2, 11, 12, 3), (2, 20, 21, 22, 3)))
    states = graphs[GraphName.INSTRUCTION].run(instruction)
    feeds = {
        **query,
        "instruction_state": states,
        "instruction_mask": instruction["attention_mask"],
        "instruction_index": np.zeros(1, dtype=np.int64),
    }
    return graphs[GraphName.QUERY].run(feeds)


def _padded(ids: tuple[int, ...], *, pads_left: bool) -> Feeds:
    pads = (3, 0) if pads_left else (0, 3)
    return {
        "input_ids": np.pad(np.array([ids]), ((0, 0), pads)),
        "attention_mask": np.pad(np.ones((1, len(ids)), dtype=np.int64), ((0, 0), pads)),
    }


def test_pads_of_instruction_and_query_may_stand_on_either_side(bundle_with_states: Path) -> None:
    left, right = (_one_query(bundle_with_states, pads_left=side) for side in (True, False))
    np.testing.assert_allclose(left, right, atol=TOLERANCE)
    item = TokenizedInput(InputType.QUERY, ids=(2, 20, 21, 22, 3), instruction_ids=(2, 11, 12, 3))
    np.testing.assert_allclose(right, OnnxEncoder.open(bundle_with_states).encode([item]), atol=TOLERANCE)
