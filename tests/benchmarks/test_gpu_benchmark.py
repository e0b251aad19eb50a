import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import Machine, flops, main, report, texts
from infembed.bundle import Precision
from infembed.onnx_runtime import ort
from model_export.weights import BertShape

HERE = Machine("cpu", Precision.FP32, rows=2, seconds=0.0)


def test_without_a_gpu_it_says_so_in_one_sentence(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--bundle", str(tiny_bundle)])
    assert main() == 3
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.startswith("provider cuda needs CUDAExecutionProvider")
    assert len(printed.err.splitlines()) == 1


def test_operations_of_one_layer_are_counted_as_by_hand() -> None:
    shape = BertShape(
        n_layers=1, n_heads=1, dim=2, feed_forward_dim=3, vocabulary=9, n_positions=9, layer_norm_epsilon=1e-12
    )
    projections = 4 * 2 * 2 * 2 * 5
    feed_forward = 2 * 2 * 2 * 3 * 5
    scores_and_mix = 2 * 2 * 5 * 5 * 2
    assert flops(shape, 5) == projections + feed_forward + scores_and_mix
    assert flops(shape, 5, before=2) - flops(shape, 5) == 2 * 2 * 5 * 2 * 2


def test_a_way_that_fails_on_this_card_is_reported_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: Mapping[str, object]) -> None:
        raise RuntimeError("no kernel")

    runs = []
    report(HERE, {"bad": fails, "good": runs.append}, texts(np.random.default_rng(0), [3, 4]), 1e-9)
    failed, measured = capsys.readouterr().out.splitlines()
    assert failed == "| bad | 4 | 2 | failed: no kernel | |"
    assert measured.startswith("| good | 4 | 2 |")
    assert len(runs) == 15
