from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from infembed.errors import MismatchedArtefactError
from infembed.vectors import FloatArray
from infembed.weightfile import WEIGHTS_FILE, StoredTensor, map_tensors, place, write_layout
from model_export.rounding import Scaled, fp16_layout, int8_layout, quantize, scales, write_rounded


def _floats(values: Sequence[float | Sequence[float]]) -> FloatArray:
    return np.array(values, dtype=np.float32)


def _folder(directory: Path, tensors: dict[str, FloatArray]) -> tuple[StoredTensor, ...]:
    """Write a float32 folder."""
    directory.mkdir()
    layout = place(StoredTensor(name=name, shape=array.shape, offset=0) for name, array in tensors.items())
    write_layout(directory, layout)
    with (directory / WEIGHTS_FILE).open("wb") as file:
        for tensor in layout:
            file.write(b"\0" * (tensor.offset - file.tell()) + tensors[tensor.name].tobytes())
    return layout


def test_each_column_has_its_own_step_and_reaches_127() -> None:
    matrix = np.array([[1, -254], [-0.5, 127]], dtype=np.float32)
    np.testing.assert_array_equal(scales(matrix, Scaled.COLUMNS), _floats([1 / 127, 2]))
    np.testing.assert_array_equal(quantize(matrix, Scaled.COLUMNS), [[127, -127], [-64, 64]])


def test_each_row_of_a_table_has_its_own_step() -> None:
    table = np.array([[1, -0.5], [0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(scales(table, Scaled.ROWS), _floats([1 / 127, 1]))
    np.testing.assert_array_equal(quantize(table, Scaled.ROWS), [[127, -64], [0, 0]])


@pytest.mark.parametrize("what", list(Scaled))
def test_rounding_moves_no_value_by_more_than_half_a_step(what: Scaled) -> None:
    matrix = np.random.default_rng(0).normal(0, 1, (20, 30)).astype(np.float32)
    steps = np.expand_dims(scales(matrix, what), 0 if what is Scaled.COLUMNS else 1)
    moved = np.abs(quantize(matrix, what) * steps - matrix)
    assert (moved <= steps * (0.5 + 1e-5)).all()


def test_a_layout_decides_what_becomes_of_each_tensor(tmp_path: Path) -> None:
    matrix, bias = _floats([[1, -2], [0.5, 4]]), _floats([0.1, 0.2])
    source = _folder(tmp_path / "fp32", {"matrix": matrix, "bias": bias})
    (tmp_path / "int8").mkdir()
    write_layout(tmp_path / "int8", int8_layout(source, {"matrix": Scaled.COLUMNS}))
    write_rounded(tmp_path / "fp32", tmp_path / "int8")
    found = map_tensors(tmp_path / "int8")
    np.testing.assert_array_equal(found["matrix"], quantize(matrix, Scaled.COLUMNS))
    np.testing.assert_array_equal(found["matrix.column_scale"], scales(matrix, Scaled.COLUMNS))
    np.testing.assert_array_equal(found["bias"], bias)


def test_float16_halves_every_tensor(tmp_path: Path) -> None:
    source = _folder(tmp_path / "fp32", {"matrix": _floats([[1, 1 / 3]])})
    (tmp_path / "fp16").mkdir()
    write_layout(tmp_path / "fp16", fp16_layout(source))
    write_rounded(tmp_path / "fp32", tmp_path / "fp16")
    np.testing.assert_array_equal(map_tensors(tmp_path / "fp16")["matrix"], _floats([[1, 1 / 3]]).astype(np.float16))


@pytest.mark.parametrize(("name", "shape"), [("absent", (2, 2)), ("matrix", (3, 2))])
def test_a_layout_of_another_model_is_refused(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    _folder(tmp_path / "fp32", {"matrix": np.zeros((2, 2), np.float32)})
    (tmp_path / "int8").mkdir()
    write_layout(tmp_path / "int8", [StoredTensor(name=name, shape=shape, offset=0)])
    with pytest.raises(MismatchedArtefactError, match="not of one model"):
        write_rounded(tmp_path / "fp32", tmp_path / "int8")
