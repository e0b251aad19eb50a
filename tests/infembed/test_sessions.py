from pathlib import Path

import numpy as np
import pytest

from infembed.bundle import Bundle, GraphName, Precision
from infembed.encoder import OnnxEncoder
from infembed.errors import BadConfigError
from infembed.execution import Footprint, Provider
from infembed.graphs import PlainGraph
from infembed.inputs import Fusion, InputType
from infembed.loading import sessions_to_open
from infembed.onnx_runtime import ort
from infembed.sessions import open_session, require_provider, require_started, session_options
from infembed.tokenization import TokenizedInput
from tests.tiny import make_tiny_bundle


@pytest.mark.parametrize("provider", [Provider.CUDA, Provider.TENSORRT])
def test_a_provider_that_is_not_installed_is_refused(
    tiny_bundle: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BadConfigError, match=f"provider {provider} needs .*has CPUEx.*; install onnxruntime-gpu"):
        OnnxEncoder.open(tiny_bundle, provider=provider)


def test_a_provider_that_is_installed_but_does_not_start_is_refused() -> None:
    with pytest.raises(BadConfigError, match="provider cuda did not start, .*CPUExecutionProvider; check the driver"):
        require_started(Provider.CUDA, ["CPUExecutionProvider"])


def test_the_processor_is_always_there() -> None:
    require_provider(Provider.CPU)


def test_a_graph_finds_its_weights_beside_it_without_shared_ones(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graph = PlainGraph(open_session(bundle.graph_path(GraphName.DOCUMENT, Precision.FP32), session_options(1)))
    ids = np.array([[2, 7, 8, 3]])
    alone = graph.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    shared = OnnxEncoder(bundle).encode([TokenizedInput(InputType.DOCUMENT, ids=(2, 7, 8, 3))])
    np.testing.assert_array_equal(alone, shared)


def test_with_a_small_footprint_one_session_reads_queries_and_documents(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert sessions_to_open(bundle, Footprint.SMALL) == [GraphName.QUERY, GraphName.INSTRUCTION]
    assert sessions_to_open(bundle, Footprint.FAST) == [GraphName.DOCUMENT, GraphName.QUERY, GraphName.INSTRUCTION]


def test_without_states_there_is_one_session_anyway(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path, fusion=Fusion.CONCAT))
    for footprint in Footprint:
        assert sessions_to_open(bundle, footprint) == [GraphName.DOCUMENT]
