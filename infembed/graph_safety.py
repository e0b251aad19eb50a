"""What is refused of a bundle's graphs by name, before ONNX Runtime reads them.

A digest says that a file is the one its manifest lists, not that its author meant well. A graph may name files outside
of its folder as weights, ask for more memory than there is, or call operators that load libraries, engines or code.
The serving image has no `onnx`, so the few fields that matter are read from the protobuf here.
"""

from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from infembed.config import shown
from infembed.errors import UntrustedArtefactError
from infembed.protobuf import MalformedError, Message, read_message

_ONNX = frozenset({
    "Abs", "Add", "Cast", "Concat", "CumSum", "Div", "Equal", "Gather", "Greater", "Identity", "LayerNormalization",
    "MatMul", "Max", "Mul", "QuantizeLinear", "ReduceMax", "ReduceSum", "Reshape", "Split", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
_MICROSOFT = frozenset({
    "Attention", "BiasGelu", "EmbedLayerNormalization", "Gelu", "MatMulIntegerToFloat", "MultiHeadAttention",
    "RotaryEmbedding", "SkipLayerNormalization",
})  # fmt: skip
KNOWN_OPERATORS = {"": _ONNX, "ai.onnx": _ONNX, "com.microsoft": _MICROSOFT}
"""What the graphs of a bundle are made of, by domain. Of others, `ConstantOfShape` can ask for any memory, and
`EPContext` hands a file to an accelerator's library."""
LARGEST_GRAPH_BYTES = 8 * 2**20
LARGEST_TENSOR_BYTES = 16 * 2**30
_EXTERNAL = 1
_PLACE = frozenset({"location", "offset", "length"})
_BYTES_BY_TYPE = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Of TensorProto's data types that graphs of a model have; others are refused."""


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    data_type: int
    data_location: int
    external: dict[str, str]


class Place(NamedTuple):
    """Where a graph says that one of its weights lies, in a file of its own folder."""

    file: str
    offset: int
    size_bytes: int
    shape: tuple[int, ...]


def require_safe_graph(path: Path) -> None:
    """Refuse a graph that reaches out of its folder, asks for boundless memory or calls unknown operators."""
    size = path.stat().st_size
    if size > LARGEST_GRAPH_BYTES:
        raise UntrustedArtefactError(
            f"{path} has {size:,} bytes, a graph without weights at most {LARGEST_GRAPH_BYTES:,}; do not serve it"
        )
    try:
        model = read_message(path.read_bytes())
        _require_safe_model(path, model)
    except MalformedError as error:
        raise UntrustedArtefactError(f"{path} is no ONNX graph: {error}; make the bundle again") from error


def external_places(path: Path) -> dict[str, Place]:
    """Read from a graph, which is known to be safe, where its weights lie."""
    found = {}
    for graph in read_message(path.read_bytes()).messages(7):
        for tensor in map(_read_tensor, graph.messages(5)):
            if tensor.external:
                place = (tensor.external["location"], int(tensor.external.get("offset", 0)), _size_bytes(tensor))
                found[tensor.name] = Place(*place, tensor.shape)
    return found


def _require_safe_model(path: Path, model: Message) -> None:
    if model.messages(25) or model.messages(20):
        raise UntrustedArtefactError(f"{path} brings functions or training steps of its own; do not serve it")
    for graph in model.messages(7):
        if graph.messages(15):
            raise UntrustedArtefactError(f"{path} has sparse weights, which no graph of ours has; do not serve it")
        tensors = graph.messages(5)
        for node in graph.messages(1):
            tensors += _tensors_of_node(path, node)
        for tensor in tensors:
            _require_safe_tensor(path, _read_tensor(tensor))


def _tensors_of_node(path: Path, node: Message) -> list[Message]:
    """Check a node and return the tensors in its attributes."""
    operator, domain = shown(node.text(4)), node.text(7)
    attributes = node.messages(5)
    if any(attribute.messages(number) for attribute in attributes for number in (6, 11, 22, 23)):
        raise UntrustedArtefactError(
            f"{path} has a graph within {operator}, which no graph of ours has; do not serve it"
        )
    if domain not in KNOWN_OPERATORS:
        raise UntrustedArtefactError(
            f"{path} calls {operator} of the operator domain {shown(domain)}, known are ONNX's own and com.microsoft; "
            "do not serve it"
        )
    if node.text(4) not in KNOWN_OPERATORS[domain]:
        raise UntrustedArtefactError(
            f"{path} calls {operator} of {domain or 'ONNX'}, which no graph of this release has; do not serve it, or "
            "use the release that made it"
        )
    return [tensor for attribute in attributes for number in (5, 10) for tensor in attribute.messages(number)]


def _read_tensor(tensor: Message) -> _Tensor:
    external = {entry.text(1): entry.text(2) for entry in tensor.messages(13)}
    return _Tensor(tensor.text(8), tensor.integers(1), tensor.integer(2), tensor.integer(14), external)


def _require_safe_tensor(path: Path, tensor: _Tensor) -> None:
    name = shown(tensor.name)
    if any(size < 0 for size in tensor.shape) or tensor.data_type not in _BYTES_BY_TYPE:
        raise UntrustedArtefactError(
            f"{path}: tensor {name} has shape {shown(tensor.shape)} and type {tensor.data_type}, which no tensor of a "
            "model has; do not serve it"
        )
    size = _size_bytes(tensor)
    if size > LARGEST_TENSOR_BYTES:
        raise UntrustedArtefactError(
            f"{path}: tensor {name} would take {size:,} bytes, at most {LARGEST_TENSOR_BYTES:,} are read; do not "
            "serve it"
        )
    if tensor.data_location == _EXTERNAL or tensor.external:
        _require_inside(path, tensor, size)


def _size_bytes(tensor: _Tensor) -> int:
    return prod(tensor.shape) * _BYTES_BY_TYPE[tensor.data_type]


def _require_inside(path: Path, tensor: _Tensor, size: int) -> None:
    """Check that a weight lies in a file of the graph's own folder, and wholly in it."""
    name, location = shown(tensor.name), tensor.external.get("location", "")
    if unknown := sorted(tensor.external.keys() - _PLACE):
        raise UntrustedArtefactError(
            f"{path}: tensor {name} has {shown(unknown[0])} beside its place, which ONNX Runtime would trust; do not "
            "serve it"
        )
    parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    if not location or len(PurePosixPath(location).parts) != 1 or ".." in parts or PureWindowsPath(location).drive:
        raise UntrustedArtefactError(
            f"{path}: the weights of tensor {name} lie at {shown(location)}, outside of the graph's folder; do not "
            "serve it"
        )
    try:
        offset, length = int(tensor.external.get("offset", 0)), int(tensor.external.get("length", size))
    except ValueError as error:
        raise UntrustedArtefactError(f"{path}: the place of tensor {name} is not a number; do not serve it") from error
    file = path.parent / location
    found = file.stat().st_size if file.is_file() else 0
    if offset < 0 or length != size or offset + length > found:
        raise UntrustedArtefactError(
            f"{path}: tensor {name} of {size:,} bytes is said to have {shown(length)} at {shown(offset)} of "
            f"{shown(location)}, which has {found:,}; do not serve it"
        )
