"""The weight file of a bundle: tensors mapped into memory once, for every session that needs them."""

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path

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


def shared_initializers(directory: Path) -> dict[str, ort.OrtValue]:
    """Map the weight files of `directory`; the values hold no copy and keep the mapping alive."""
    mapped: dict[str, npt.NDArray[np.uint8]] = {}
    values = {}
    for tensor in _read_layout(directory):
        if tensor.file not in mapped:
            mapped[tensor.file] = _map(safe_child(directory, tensor.file))
        whole = mapped[tensor.file]
        if tensor.offset + tensor.size_bytes > len(whole):
            raise AlteredArtefactError(f"{directory / tensor.file} ends before tensor {shown(tensor.name)}; {REMEDY}")
        part = whole[tensor.offset : tensor.offset + tensor.size_bytes]
        array = part.view(np.dtype(tensor.dtype)).reshape(tensor.shape)
        values[tensor.name] = ort.OrtValue.ortvalue_from_numpy(array)
    return values


def _map(path: Path) -> npt.NDArray[np.uint8]:
    if not path.is_file():
        raise MissingArtefactError(f"the bundle has no weight file {path}; {REMEDY}")
    return np.memmap(path, dtype=np.uint8, mode="r")


def _read_layout(directory: Path) -> tuple[StoredTensor, ...]:
    path = directory / LAYOUT_FILE
    try:
        return _LAYOUT.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingArtefactError(f"the bundle has no {path}; {REMEDY}") from error
    except ValidationError as error:
        raise AlteredArtefactError(f"{path}: {explain(error)}; {REMEDY}") from error
