"""Weights in another number format: 8-bit integers with their scales, or 16-bit floats.

The layout says it all. A tensor with scales beside it (`<name>.column_scale` or `<name>.row_scale`) is divided by them
and rounded to int8; the others are converted to the type the layout gives them. Needs no `onnx`, and each step is one
correctly rounded operation, so every machine writes the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infembed.errors import MismatchedArtefactError
from infembed.vectors import FloatArray
from infembed.weightfile import StoredTensor, map_tensors, place, read_layout

Array = npt.NDArray[Any]


class Scaled(StrEnum):
    """What shares a scale; the value ends the name of the scales' tensor."""

    COLUMNS = ".column_scale"
    """Of a matrix (in, out): one scale for each output."""
    ROWS = ".row_scale"
    """Of an embedding table (vocabulary, dim): one scale for each token."""


def int8_layout(source: Sequence[StoredTensor], scaled: Mapping[str, Scaled]) -> tuple[StoredTensor, ...]:
    """Lay out the tensors of a float32 folder with the `scaled` ones as int8, each followed by its scales."""
    return place(_int8_tensors(source, scaled))


def _int8_tensors(source: Sequence[StoredTensor], scaled: Mapping[str, Scaled]) -> Iterator[StoredTensor]:
    for tensor in source:
        if tensor.name not in scaled:
            yield tensor
            continue
        what = scaled[tensor.name]
        n = tensor.shape[0] if what is Scaled.ROWS else tensor.shape[1]
        yield tensor.model_copy(update={"dtype": "|i1"})
        yield tensor.model_copy(update={"name": tensor.name + what, "shape": (n,)})


def fp16_layout(source: Sequence[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Lay out the tensors of a float32 folder as float16."""
    return place(tensor.model_copy(update={"dtype": "<f2"}) for tensor in source)


def write_rounded(source: Path, target: Path) -> None:
    """Write the weight files that the layout in `target` describes, from those of the float32 folder `source`."""
    layout = read_layout(target)
    values = _Rounded(map_tensors(source), layout)
    for file in dict.fromkeys(tensor.file for tensor in layout):
        with (target / file).open("wb") as out:
            for tensor in layout:
                if tensor.file == file:
                    out.write(b"\0" * (tensor.offset - out.tell()))
                    out.write(values.of(tensor).tobytes())


class _Rounded:
    """Values of a layout's tensors, made from float32 ones."""

    def __init__(self, tensors: Mapping[str, FloatArray], layout: Sequence[StoredTensor]) -> None:
        self._tensors = tensors
        names = {tensor.name for tensor in layout}
        self._scaled = {name: what for name in names for what in Scaled if name + what in names}

    def of(self, tensor: StoredTensor) -> Array:
        array = self._make(tensor)
        if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
            raise MismatchedArtefactError(
                f"tensor {tensor.name!r} would be {array.dtype} {array.shape}, the layout expects {tensor.dtype} "
                f"{tensor.shape}; the two folders are not of one model"
            )
        return array

    def _make(self, tensor: StoredTensor) -> Array:
        for what in Scaled:
            owner = tensor.name.removesuffix(what)
            if owner != tensor.name and owner in self._scaled:
                return scales(self._source(owner), what)
        if tensor.name in self._scaled:
            return quantize(self._source(tensor.name), self._scaled[tensor.name])
        return _narrowed(self._source(tensor.name), tensor)

    def _source(self, name: str) -> FloatArray:
        if name not in self._tensors:
            raise MismatchedArtefactError(f"the float32 folder has no tensor {name!r}; the two are not of one model")
        return self._tensors[name]


def _narrowed(values: FloatArray, tensor: StoredTensor) -> Array:
    """Convert to the type of the layout; what is too large for it would be infinity."""
    with np.errstate(over="ignore"):
        narrowed = values.astype(tensor.dtype)
    if np.isfinite(narrowed).all():
        return narrowed
    raise MismatchedArtefactError(
        f"tensor {tensor.name!r} has values up to {np.abs(values).max():.3g}, more than {np.dtype(tensor.dtype)} "
        "holds; export the model without this precision"
    )


def scales(matrix: FloatArray, what: Scaled) -> FloatArray:
    """Return the step of each column or row: its largest absolute value becomes 127. A zero one gets 1."""
    largest = np.abs(matrix).max(axis=_along(what))
    return np.where(largest == 0, np.float32(1), largest / np.float32(127)).astype("<f4")


def quantize(matrix: FloatArray, what: Scaled) -> npt.NDArray[np.int8]:
    """Round to whole steps; -128 is not used, so that zero is exact and the range symmetric."""
    steps = np.expand_dims(scales(matrix, what), _along(what))
    rounded: npt.NDArray[np.int8] = np.clip(np.rint(matrix / steps), -127, 127).astype(np.int8)
    return rounded


def _along(what: Scaled) -> int:
    return 0 if what is Scaled.COLUMNS else 1
