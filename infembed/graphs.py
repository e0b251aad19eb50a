"""Running one graph: as ONNX Runtime does it by itself, or through device buffers allocated once per shape."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from infembed.errors import AlteredArtefactError
from infembed.onnx_runtime import ort
from infembed.vectors import FloatArray

Feeds = Mapping[str, npt.NDArray[Any]]
Shape = tuple[int, ...]

_TOKEN_AXES = frozenset({"T", "I"})
_TOKEN_BUCKETS = (16, 32, 64, 128, 256, 512)
_NOT_CAPTURED = -1
_DTYPES: dict[str, type[np.generic]] = {
    "tensor(int64)": np.int64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


class Graph(Protocol):
    """A loaded graph with one output."""

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """Shapes of the inputs by name, 0 where an axis is free."""
        ...

    def run(self, feeds: Feeds) -> FloatArray: ...


class PlainGraph:
    """Runs any shape; ONNX Runtime allocates what it needs. Feeds take the graph's types: states may be float16.

    `weights` are what the session's initializers point into: they are kept as long as the graph is.
    """

    def __init__(
        self, session: ort.InferenceSession, options: ort.RunOptions | None = None, *, weights: object = None
    ) -> None:
        self._session = session
        self._weights = weights
        self._options = options
        self._dtypes = {node.name: _dtype(node) for node in session.get_inputs()}
        self.inputs = _shapes(session)

    def run(self, feeds: Feeds) -> FloatArray:
        typed = {name: array.astype(self._dtypes[name], copy=False) for name, array in feeds.items()}
        (value,) = self._session.run(None, typed, self._options)
        return np.asarray(value, dtype=np.float32)


class BoundGraph:
    """Runs through buffers on the device that are kept for each bucket of shapes, as CUDA graphs need it.

    Feeds are padded with zeros to the bucket: rows to a power of two, tokens to one of a few lengths. A padded row has
    an empty mask and is cut off the result. At most `max_buckets` are kept; what fits none runs unbound. Every run
    writes the buffers: one thread at a time.
    """

    def __init__(self, session: ort.InferenceSession, *, device: str, max_buckets: int = 32) -> None:
        self._session = session
        self._device = device
        self._max_buckets = max_buckets
        self._plain = PlainGraph(session, self._run_options(_NOT_CAPTURED))
        self._axes = {node.name: node.shape for node in session.get_inputs()}
        (self._output,) = session.get_outputs()
        self._bound: dict[tuple[Shape, ...], _Bound] = {}
        self.inputs = self._plain.inputs

    @property
    def n_buckets(self) -> int:
        return len(self._bound)

    def run(self, feeds: Feeds) -> FloatArray:
        sizes = {axis: size for name, array in feeds.items() for axis, size in self._free_axes(name, array.shape)}
        if any(axis in _TOKEN_AXES and size > _TOKEN_BUCKETS[-1] for axis, size in sizes.items()):
            return self._plain.run(feeds)
        bucket = {axis: bucket_of(axis, size) for axis, size in sizes.items()}
        shapes = {name: _sized(self._axes[name], bucket) for name in feeds}
        key = tuple(shapes.values())
        if key not in self._bound:
            if len(self._bound) == self._max_buckets:
                return self._plain.run(feeds)
            self._bound[key] = self._bind(shapes, _sized(self._output.shape, bucket))
        result = self._bound[key].run(self._session, feeds)
        return result[tuple(slice(size) for size in _sized(self._output.shape, sizes))].astype(np.float32)

    def _free_axes(self, name: str, shape: Shape) -> list[tuple[str, int]]:
        return [(axis, size) for axis, size in zip(self._axes[name], shape, strict=True) if isinstance(axis, str)]

    def _bind(self, shapes: Mapping[str, Shape], output: Shape) -> "_Bound":
        dtypes = {node.name: _DTYPES[node.type] for node in self._session.get_inputs()}
        binding = self._session.io_binding()
        buffers = {name: self._allocate(shape, dtypes[name]) for name, shape in shapes.items()}
        for name, buffer in buffers.items():
            binding.bind_ortvalue_input(name, buffer)
        result = self._allocate(output, _DTYPES[self._output.type])
        binding.bind_ortvalue_output(self._output.name, result)
        staging = {name: np.zeros(shape, dtypes[name]) for name, shape in shapes.items()}
        return _Bound(binding, self._run_options(len(self._bound) + 1), buffers, staging, result)

    def _run_options(self, cuda_graph: int) -> ort.RunOptions:
        options = ort.RunOptions()
        if self._device != "cpu":
            options.add_run_config_entry("gpu_graph_id", str(cuda_graph))
        return options

    def _allocate(self, shape: Shape, dtype: type[np.generic]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, self._device, 0)


class _Bound(NamedTuple):
    """Buffers of one bucket; their addresses never change."""

    binding: Any
    options: ort.RunOptions
    buffers: dict[str, ort.OrtValue]
    staging: dict[str, npt.NDArray[Any]]
    result: ort.OrtValue

    def run(self, session: ort.InferenceSession, feeds: Feeds) -> npt.NDArray[Any]:
        for name, staged in self.staging.items():
            staged.fill(0)
            staged[tuple(slice(size) for size in feeds[name].shape)] = feeds[name]
            self.buffers[name].update_inplace(staged)
        session.run_with_iobinding(self.binding, self.options)
        result: npt.NDArray[Any] = self.result.numpy()
        return result


def bucket_of(axis: str, size: int) -> int:
    """Round the size of a free axis up; tokens to a known length, rows to a power of two."""
    if axis in _TOKEN_AXES:
        return next(bucket for bucket in _TOKEN_BUCKETS if bucket >= size)
    return 1 << max(0, size - 1).bit_length()


def _dtype(node: ort.NodeArg) -> type[np.generic]:
    if node.type not in _DTYPES:
        raise AlteredArtefactError(f"a graph's {node.name} is a {node.type}, expected one of {', '.join(_DTYPES)}")
    return _DTYPES[node.type]


def _shapes(session: ort.InferenceSession) -> dict[str, Shape]:
    return {
        node.name: tuple(0 if isinstance(axis, str) else axis for axis in node.shape) for node in session.get_inputs()
    }


def _sized(axes: list[str | int], sizes: Mapping[str, int]) -> Shape:
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)
