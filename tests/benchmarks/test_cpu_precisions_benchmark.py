from itertools import count
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cpu_precisions import BASELINE, Engine, Ids, as_written, encode_with, measure
from infembed.bundle import Bundle, Precision
from infembed.encoder import OnnxEncoder
from infembed.vectors import FloatArray


def _pooled(ids: Ids) -> FloatArray:
    return np.ones((len(ids), 2), dtype=np.float32)


def test_engines_are_compared_by_their_own_times_of_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    """The clock moves one second a reading, so every call takes one second and nothing is faster than the baseline."""
    ticks = count()
    engines = [Engine(BASELINE, _pooled), Engine("other", _pooled)]
    found = measure(engines, 2, 8, rounds=3, seconds=0.5, clock=lambda: float(next(ticks)))
    assert found["ms"] == {BASELINE: [1000.0] * 3, "other": [1000.0] * 3}
    assert found["cosine"]["other"] == pytest.approx(1)
    assert "2 x 8 tokens" in (printed := capsys.readouterr().out)
    assert printed.count("1.00 x") == 2


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
def test_a_bundle_is_measured_through_its_encoder(precise_bundle: Path, precision: Precision) -> None:
    encoder = OnnxEncoder.open(precise_bundle, precision=precision, n_threads=1)
    assert encode_with(encoder)(np.full((3, 5), 7)).shape == (3, 32)


def test_the_written_graph_is_measured_beside_the_one_that_is_served(precise_bundle: Path) -> None:
    ids = np.full((3, 5), 7)
    served, written = OnnxEncoder.open(precise_bundle, n_threads=1), as_written(Bundle.open(precise_bundle), 1)
    np.testing.assert_allclose(encode_with(written)(ids), encode_with(served)(ids), atol=2e-6)
