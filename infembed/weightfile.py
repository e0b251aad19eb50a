"""The weight file of a bundle: tensors mapped into memory once, for every session that needs them."""

import json
import mmap
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

from infembed.artefacts import safe_child
from infembed.bundle import REMEDY
from infembed.config import Config, explain, shown
from infembed.errors import AlteredArtefactError, MissingArtefactError
from infembed.onnx_runtime import ort

WEIGHTS_FILE = "weights.bin"
LAYOUT_FILE = "weights.json"
ALIGNMENT = 64


class StoredTensor(Config):
    """Where one tensor lies; `name` is that of the graphs' initializer, `dtype` a little-endian NumPy code."""

    name: str
    file: str = WEIGHTS_FILE
    dtype: str = Field(default="<f4", pattern=r"^(<f[248]|<[iu][248]|\|[iu]1)$")
    shape: tuple[PositiveInt, ...]
    offset: int = Field(ge=0)

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


_LAYOUT = TypeAdapter(tuple[StoredTensor, ...])


def write_layout(directory: Path, tensors: Sequence[StoredTensor]) -> None:
    """Write the layout beside the weight files it describes."""
    text = json.dumps([tensor.model_dump(mode="json") for tensor in tensors], indent=1)
    (directory / LAYOUT_FILE).write_text(text + "\n", encoding="utf-8")


def place(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Give each tensor its offset: in order, aligned, each file from its beginning."""
    ends: dict[str, int] = {}
    placed = []
    for tensor in tensors:
        offset = -(-ends.get(tensor.file, 0) // ALIGNMENT) * ALIGNMENT
        placed.append(tensor.model_copy(update={"offset": offset}))
        ends[tensor.file] = offset + tensor.size_bytes
    return tuple(placed)


class SharedWeights(NamedTuple):
    """Tensors by name that hold no copy, and the mapped files they lie in."""

    initializers: dict[str, ort.OrtValue]
    mapped: list[mmap.mmap]

    def release(self) -> None:
        """Give back the pages read so far; what is read again comes from the file.

        Packing a session's matrices reads every weight once and most of them never again.
        """
        for file in self.mapped:
            file.madvise(mmap.MADV_DONTNEED)


def map_weights(directory: Path) -> SharedWeights:
    """Map the weight files of `directory`; the tensors keep the mapping alive."""
    arrays, mapped = _map_files(directory)
    values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    return SharedWeights(values, mapped)


def map_tensors(directory: Path) -> dict[str, npt.NDArray[Any]]:
    """Map the weight files of `directory` as read-only arrays by tensor name."""
    return _map_files(directory)[0]


def _map_files(directory: Path) -> tuple[dict[str, npt.NDArray[Any]], list[mmap.mmap]]:
    mapped: dict[str, mmap.mmap] = {}
    arrays = {}
    for tensor in read_layout(directory):
        if tensor.file not in mapped:
            mapped[tensor.file] = _map(safe_child(directory, tensor.file))
        whole = np.frombuffer(mapped[tensor.file], dtype=np.uint8)
        if tensor.offset + tensor.size_bytes > len(whole):
            raise AlteredArtefactError(f"{directory / tensor.file} ends before tensor {shown(tensor.name)}; {REMEDY}")
        part = whole[tensor.offset : tensor.offset + tensor.size_bytes]
        arrays[tensor.name] = part.view(np.dtype(tensor.dtype)).reshape(tensor.shape)
    return arrays, list(mapped.values())


def _map(path: Path) -> mmap.mmap:
    if not path.is_file():
        raise MissingArtefactError(f"the bundle has no weight file {path}; {REMEDY}")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_layout(directory: Path) -> tuple[StoredTensor, ...]:
    """Read the layout of a folder's weight files."""
    path = directory / LAYOUT_FILE
    try:
        return _LAYOUT.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingArtefactError(f"the bundle has no {path}; {REMEDY}") from error
    except ValidationError as error:
        raise AlteredArtefactError(f"{path}: {explain(error)}; {REMEDY}") from error
