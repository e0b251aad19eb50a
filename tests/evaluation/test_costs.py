import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from evaluation import costs
from evaluation.costs import measure_costs
from evaluation.report import ServingCosts
from infembed.encoder import OnnxEncoder
from infembed.errors import (
    AlteredArtefactError,
    BadArtefactError,
    BadInputError,
    MissingArtefactError,
    UnavailableError,
)
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray
from tests.tiny import WORDS

QUERIES = [
    TextInput(f"how {word} {WORDS[-place]}", InputType.QUERY, f"only {word}")
    for place, word in enumerate(WORDS[:20], start=1)
]


@pytest.fixture(scope="module")
def measured(tiny_bundle: Path) -> list[ServingCosts]:
    """The same bundle against itself, with and without the checkpoint's vectors beside it."""
    return measure_costs([tiny_bundle, tiny_bundle], QUERIES, references=[None, OnnxEncoder.open(tiny_bundle)])


def test_bundles_are_measured_in_one_run_each_in_a_process_of_its_own(measured: list[ServingCosts]) -> None:
    one, other = measured
    assert one.measured_in == other.measured_in != ""
    for found in measured:
        assert 0 < found.latency_p50_ms <= found.latency_p95_ms
        assert 10 < found.resident_mb < 2000


def test_another_run_has_another_name(tiny_bundle: Path, measured: list[ServingCosts]) -> None:
    (again,) = measure_costs([tiny_bundle], QUERIES[:1])
    assert again.measured_in != measured[0].measured_in


def test_a_sound_bundle_gives_a_text_the_same_vector_in_any_batch(measured: list[ServingCosts]) -> None:
    assert 0 <= measured[0].batch_invariance_max_abs < 1e-5
    assert measured[0].distinct_vectors == 1.0


def test_parity_is_measured_where_a_checkpoint_is_given(measured: list[ServingCosts]) -> None:
    one, other = measured
    assert one.parity_max_abs is None
    assert other.parity_max_abs is not None
    assert other.parity_max_abs < 1e-5


class _Shifted:
    """A checkpoint that the bundle was not exported from."""

    document_fingerprint = "0" * 64

    def __init__(self, encoder: OnnxEncoder, *, dim: int) -> None:
        self._encoder = encoder
        self.dim = dim

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        raise NotImplementedError("parity looks at queries")

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return np.roll(self._encoder.encode_queries(queries), 1, axis=1)[:, : self.dim]


def test_another_checkpoint_shows_in_parity(tiny_bundle: Path) -> None:
    encoder = OnnxEncoder.open(tiny_bundle)
    vectors = encoder.encode_queries(QUERIES)
    parity = costs.parity(vectors, _Shifted(encoder, dim=encoder.dim), QUERIES)
    assert parity is not None
    assert parity > 0.1
    with pytest.raises(BadArtefactError, match="the checkpoint gives 5 dimensions, the bundle 32"):
        costs.parity(vectors, _Shifted(encoder, dim=5), QUERIES)


def test_vectors_that_repeat_are_counted_once() -> None:
    one, two = [1.0, 0.0], [0.0, 1.0]
    assert costs.distinct(np.array([one, two, one, one], dtype=np.float32)) == 0.5


def test_a_burst_of_noise_in_one_block_moves_no_percentile() -> None:
    calm = [float(1 + turn % 10) for turn in range(200)]
    burst = [100 * value if 40 <= turn < 80 else value for turn, value in enumerate(calm)]
    assert costs.over_blocks(burst, 95) == costs.over_blocks(calm, 95)


def test_bundles_take_turns_and_none_is_always_first() -> None:
    order: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self._name = name

        def time(self, query: TextInput) -> float:
            order.append(f"{self._name} {query.text}")
            return 0.001 * len(order)

    taken = costs.take_turns([Recorder("a"), Recorder("b")], [TextInput("x"), TextInput("y")])
    assert order[:6] == ["b x", "a x", "a y", "b y", "b x", "a x"]
    assert [len(found) for found in taken] == [200, 200]


def test_no_queries_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BadInputError, match="there are none"):
        measure_costs([tiny_bundle], [])


def test_a_bundle_that_is_not_there_is_named_and_no_process_is_left(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="absent"):
        measure_costs([tiny_bundle, tmp_path / "absent"], QUERIES)
    assert multiprocessing.active_children() == []


def test_an_altered_bundle_is_refused_and_no_process_is_left(tiny_bundle: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    for path in tiny_bundle.rglob("*"):
        if path.is_file():
            target = altered / path.relative_to(tiny_bundle)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() + (b" " if path.name == "tokenizer.json" else b""))
    with pytest.raises(AlteredArtefactError):
        measure_costs([altered], QUERIES)
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_an_error_with_its_exit_code_and_is_cleaned_up(tiny_bundle: Path) -> None:
    with pytest.raises(UnavailableError, match=r"died \(exit code -9\)"):
        with costs.started(tiny_bundle) as worker:
            worker.time(QUERIES[0])
            (child,) = multiprocessing.active_children()
            os.kill(child.pid or 0, signal.SIGKILL)
            worker.time(QUERIES[0])
    assert multiprocessing.active_children() == []


def test_a_process_outlives_no_error_of_its_parent(tiny_bundle: Path) -> None:
    with pytest.raises(RuntimeError, match="ours"):
        with costs.started(tiny_bundle):
            raise RuntimeError("ours")
    assert multiprocessing.active_children() == []
