import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infembed.bundle import Bundle, GraphName, Precision, write_manifest
from infembed.encoder import OnnxEncoder
from infembed.errors import AlteredArtefactError, BadConfigError
from infembed.execution import Footprint, Provider
from infembed.graphs import PlainGraph
from infembed.inputs import Fusion, InputType
from infembed.loading import load_graphs, sessions_to_open
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


def test_a_graph_keeps_the_weights_it_shares_alive(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graph = load_graphs(bundle, Precision.FP32, provider=Provider.CPU, footprint=Footprint.FAST, n_threads=1).document
    gc.collect()
    ids = np.array([[2, 7, 8, 3]])
    expected = OnnxEncoder(bundle).encode([TokenizedInput(InputType.DOCUMENT, ids=(2, 7, 8, 3))])
    np.testing.assert_array_equal(graph.run({"input_ids": ids, "attention_mask": np.ones_like(ids)}), expected)


def test_with_a_small_footprint_one_session_reads_queries_and_documents(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert sessions_to_open(bundle, Footprint.SMALL) == [GraphName.QUERY, GraphName.INSTRUCTION]
    assert sessions_to_open(bundle, Footprint.FAST) == [GraphName.DOCUMENT, GraphName.QUERY, GraphName.INSTRUCTION]


def test_without_states_there_is_one_session_anyway(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path, fusion=Fusion.CONCAT))
    for footprint in Footprint:
        assert sessions_to_open(bundle, footprint) == [GraphName.DOCUMENT]


Entries = list[dict[str, object]]


def _first(entries: Entries, key: str, value: object) -> None:
    entries[0][key] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: _first(entries, "offset", 64),
        lambda entries: _first(entries, "shape", [2, 32]),
        lambda entries: _first(entries, "dtype", "<f8"),
        lambda entries: entries.pop(0),
    ],
    ids=["place", "shape", "type", "missing"],
)
def test_a_layout_that_contradicts_the_graphs_is_refused(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[Entries], object]
) -> None:
    """Its weights would be taken in place of the graph's, and the vectors be wrong without a word."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    layout = bundle / "fp32" / "weights.json"
    entries = json.loads(layout.read_text())
    change(entries)
    layout.write_text(json.dumps(entries))
    write_manifest(bundle, Bundle.open(tiny_bundle).manifest)
    with pytest.raises(AlteredArtefactError, match=r"another place or shape for tensor 'embeddings.words' than .*onnx"):
        OnnxEncoder.open(bundle)


@pytest.mark.parametrize("vocabulary", ["larger", "without letters"])
def test_a_tokenizer_that_does_not_fit_the_graphs_is_refused_at_once(
    tiny_bundle: Path, tmp_path: Path, vocabulary: str
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    path = bundle / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words: dict[str, int] = tokenizer["model"]["vocab"]
    if vocabulary == "larger":
        words["new"] = len(words)
    else:
        tokenizer["model"]["vocab"] = {f"_{word}": number for word, number in words.items()}
    path.write_text(json.dumps(tokenizer))
    write_manifest(bundle, Bundle.open(tiny_bundle).manifest)
    with pytest.raises(AlteredArtefactError, match=r"do not run|cannot read a letter"):
        OnnxEncoder.open(bundle)
