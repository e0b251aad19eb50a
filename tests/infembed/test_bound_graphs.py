"""Running through buffers kept per shape, on the processor: tests have no GPU, where the same code runs."""

from pathlib import Path

import numpy as np
import pytest

from infembed.bundle import Bundle, GraphName, Precision
from infembed.encoder import pad
from infembed.graphs import BoundGraph, PlainGraph, bucket_of
from infembed.sessions import open_session, session_options

TOLERANCE = 1e-5


def _both(bundle: Path, name: GraphName, *, max_buckets: int = 32) -> tuple[PlainGraph, BoundGraph]:
    session = open_session(Bundle.open(bundle).graph_path(name, Precision.FP32), session_options(1))
    return PlainGraph(session), BoundGraph(session, device="cpu", max_buckets=max_buckets)


def _rows(*lengths: int) -> dict[str, np.ndarray]:
    ids, mask = pad([tuple(range(4, 4 + length)) for length in lengths])
    return {"input_ids": ids, "attention_mask": mask}


def test_a_bound_graph_equals_a_plain_one_at_every_shape(tiny_bundle: Path) -> None:
    plain, bound = _both(tiny_bundle, GraphName.DOCUMENT)
    for lengths in ((3,), (16,), (1, 17, 40), (5, 5, 5, 5, 5), (2, 30), (1,)):
        np.testing.assert_allclose(bound.run(_rows(*lengths)), plain.run(_rows(*lengths)), atol=TOLERANCE)


def test_instruction_states_are_cut_to_the_rows_and_tokens_that_came_in(tiny_bundle: Path) -> None:
    plain, bound = _both(tiny_bundle, GraphName.INSTRUCTION)
    feeds = _rows(5, 5, 5)
    expected = plain.run(feeds)
    np.testing.assert_allclose(bound.run(feeds), expected, atol=TOLERANCE)
    assert bound.run(feeds).shape == expected.shape


def test_queries_after_instructions_run_bound(tiny_bundle: Path) -> None:
    plain, bound = _both(tiny_bundle, GraphName.QUERY)
    states, _ = _both(tiny_bundle, GraphName.INSTRUCTION)
    instructions = _rows(3, 9, 4)
    feeds = {
        **_rows(4, 8, 20, 1, 6),
        "instruction_state": states.run(instructions),
        "instruction_mask": instructions["attention_mask"],
        "instruction_index": np.array([2, 0, 1, 1, 2]),
    }
    np.testing.assert_allclose(bound.run(feeds), plain.run(feeds), atol=TOLERANCE)


def test_a_result_is_not_overwritten_by_the_next_run(tiny_bundle: Path) -> None:
    _, bound = _both(tiny_bundle, GraphName.DOCUMENT)
    first = bound.run(_rows(3))
    kept = first.copy()
    bound.run(_rows(7))
    np.testing.assert_array_equal(first, kept)


def test_shapes_of_one_bucket_share_its_buffers(tiny_bundle: Path) -> None:
    _, bound = _both(tiny_bundle, GraphName.DOCUMENT)
    for lengths in ((3, 4, 5), (16, 1, 1, 1), (9, 9, 9, 9)):
        bound.run(_rows(*lengths))
    assert bound.n_buckets == 1


def test_what_fits_no_bucket_any_more_runs_without(tiny_bundle: Path) -> None:
    plain, bound = _both(tiny_bundle, GraphName.DOCUMENT, max_buckets=1)
    bound.run(_rows(3))
    np.testing.assert_allclose(bound.run(_rows(20, 20)), plain.run(_rows(20, 20)), atol=TOLERANCE)
    assert bound.n_buckets == 1


@pytest.mark.parametrize(
    ("axis", "size", "bucket"), [("B", 1, 1), ("B", 3, 4), ("U", 8, 8), ("T", 1, 16), ("I", 65, 128)]
)
def test_sizes_are_rounded_up(axis: str, size: int, bucket: int) -> None:
    assert bucket_of(axis, size) == bucket
