"""Graphs that reach out of their folder, ask for too much or call strangers are refused by name, without `onnx`."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from infembed.bundle import Bundle, write_manifest
from infembed.errors import UntrustedArtefactError
from infembed.graph_safety import require_safe_graph
from infembed.protobuf import read_message


def _changed(tiny: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    path = Path(shutil.copytree(tiny, tmp_path / "bundle")) / "fp32" / "document.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def _external(model: onnx.ModelProto, key: str, value: str) -> None:
    tensor = next(each for each in model.graph.initializer if each.data_location == TensorProto.EXTERNAL)
    next(entry for entry in tensor.external_data if entry.key == key).value = value


def _first(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(each for each in model.graph.initializer if each.data_location == TensorProto.EXTERNAL)


def _with_subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner))


def _with_hidden_file(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="hidden", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Cast", [], ["hidden"], value=tensor))


def _calling(operator: str, domain: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(operator, ["input_ids"], ["x"], domain=domain))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m: _external(m, "location", "../../secret"),
            r"tensor 'embeddings.words' lie at '../../secret', outside",
        ),
        (lambda m: _external(m, "location", "/etc/passwd"), r"lie at '/etc/passwd', outside"),
        (lambda m: _external(m, "location", "sub/weights.bin"), r"lie at 'sub/weights.bin', outside"),
        (lambda m: _external(m, "location", "C:\\x"), r"outside"),
        (lambda m: _external(m, "location", ".."), r"outside"),
        (lambda m: _external(m, "length", "8"), r"is said to have 8 at 0 of 'weights.bin'"),
        (
            lambda m: _external(m, "offset", str(10**12)),
            r"is said to have .* at 1000000000000 of 'weights.bin', which has",
        ),
        (lambda m: _external(m, "offset", "-64"), r"at -64 of"),
        (lambda m: _external(m, "offset", "x"), r"is not a number"),
        (lambda m: _first(m).dims.append(2**40), r"tensor 'embeddings.words' would take .* bytes, at most"),
        (lambda m: _first(m).dims.append(-1), r"has shape"),
        (lambda m: setattr(_first(m), "data_type", TensorProto.STRING), r"type 8, which no tensor"),
        (lambda m: setattr(m.graph.node[0], "domain", "evil.ops"), r"calls 'CumSum' of the operator domain 'evil.ops'"),
        (_calling("EPContext", "com.microsoft"), r"calls 'EPContext' of com.microsoft, which no graph of this release"),
        (_calling("ConstantOfShape", ""), r"calls 'ConstantOfShape' of ONNX, which no graph of this release has"),
        (lambda m: _first(m).external_data.add(key="prepacked_0", value="x|0|64|1;"), r"has 'prepacked_0' beside its"),
        (_with_subgraph, r"has a graph within 'If'"),
        (_with_hidden_file, r"tensor 'hidden' lie at '/etc/passwd'"),
        (lambda m: m.functions.add(name="f", domain="x"), r"brings functions"),
        (lambda m: m.graph.sparse_initializer.add(), r"has sparse weights"),
    ],
)
def test_what_a_graph_may_not_do_is_refused_by_name(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], object], words: str
) -> None:
    path = _changed(tiny_bundle, tmp_path, change)
    with pytest.raises(UntrustedArtefactError, match=words):
        require_safe_graph(path)


def test_a_bundle_is_refused_when_it_is_opened_though_its_digests_are_right(tiny_bundle: Path, tmp_path: Path) -> None:
    path = _changed(tiny_bundle, tmp_path, lambda model: _external(model, "location", "../weights.bin"))
    root = path.parents[1]
    manifest = Bundle.open(tiny_bundle).manifest
    write_manifest(root, manifest)
    with pytest.raises(UntrustedArtefactError, match="outside of the graph's folder"):
        Bundle.open(root)


@pytest.mark.parametrize("contents", [b"", b"\x08", b"\xff" * 40, b"\x3a\xff\xff\xff\x7f", b"\x3b\x00", b"no graph"])
def test_bytes_that_are_no_graph_are_refused_or_empty(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(contents)
    if contents:
        with pytest.raises(UntrustedArtefactError, match="is no ONNX graph"):
            require_safe_graph(path)
    else:
        require_safe_graph(path)


def test_every_beginning_of_a_graph_is_refused_or_read(tiny_bundle: Path, tmp_path: Path) -> None:
    """No cut makes the reader loop, overrun or raise anything but a refusal."""
    data = (tiny_bundle / "fp32" / "document.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    for end in range(1, 400):
        path.write_bytes(data[:end])
        with suppress(UntrustedArtefactError):
            require_safe_graph(path)


def test_the_reader_finds_what_onnx_finds(tiny_bundle: Path) -> None:
    path = tiny_bundle / "fp32" / "document.onnx"
    model = onnx.load(path, load_external_data=False)
    (graph,) = read_message(path.read_bytes()).messages(7)
    assert [node.text(4) for node in graph.messages(1)] == [node.op_type for node in model.graph.node]
    found = [(tensor.text(8), tensor.integers(1)) for tensor in graph.messages(5)]
    assert found == [(tensor.name, tuple(tensor.dims)) for tensor in model.graph.initializer]
    layout = json.loads((path.parent / "weights.json").read_text())
    assert {entry["name"] for entry in layout} <= {name for name, _ in found}
