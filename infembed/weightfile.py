"""The weight file of a bundle: tensors mapped into memory once, for every session that needs them."""

import json
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

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


def shared_initializers(directory: Path) -> dict[str, ort.OrtValue]:
    """Map the weight files of `directory`; the values hold no copy and keep the mapping alive."""
    return {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in map_tensors(directory).items()}


def map_tensors(directory: Path) -> dict[str, npt.NDArray[Any]]:
    """Map the weight files of `directory` as read-only arrays by tensor name."""
    mapped: dict[str, npt.NDArray[np.uint8]] = {}
    arrays = {}
    for tensor in read_layout(directory):
        if tensor.file not in mapped:
            mapped[tensor.file] = _map(safe_child(directory, tensor.file))
        whole = mapped[tensor.file]
        if tensor.offset + tensor.size_bytes > len(whole):
            raise AlteredArtefactError(f"{directory / tensor.file} ends before tensor {shown(tensor.name)}; {REMEDY}")
        part = whole[tensor.offset : tensor.offset + tensor.size_bytes]
        arrays[tensor.name] = part.view(np.dtype(tensor.dtype)).reshape(tensor.shape)
    return arrays


def _map(path: Path) -> npt.NDArray[np.uint8]:
    if not path.is_file():
        raise MissingArtefactError(f"the bundle has no weight file {path}; {REMEDY}")
    return np.memmap(path, dtype=np.uint8, mode="r")


def read_layout(directory: Path) -> tuple[StoredTensor, ...]:
    """Read the layout of a folder's weight files."""
    path = directory / LAYOUT_FILE
    try:
        return _LAYOUT.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingArtefactError(f"the bundle has no {path}; {REMEDY}") from error
    except ValidationError as error:
        raise AlteredArtefactError(f"{path}: {explain(error)}; {REMEDY}") from error
